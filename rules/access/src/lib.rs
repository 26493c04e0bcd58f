//! Who may do what: authentication claims, RBAC, the node authorizer and built-in admission.
