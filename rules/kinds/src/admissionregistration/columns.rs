//! Columns of the tables of the group, as upstream describes them. Cells are beside each kind.

use crate::Column;
use crate::cells::{AGE, NAME, column};

/// Of `validatingwebhookconfigurations`.
pub(super) static VALIDATING_WEBHOOK_CONFIGURATION: [Column; 3] = [
    NAME,
    column(
        "Webhooks",
        "integer",
        "Webhooks indicates the number of webhooks registered in this configuration",
    ),
    AGE,
];
/// Of `mutatingwebhookconfigurations`.
pub(super) static MUTATING_WEBHOOK_CONFIGURATION: [Column; 3] = [
    NAME,
    column(
        "Webhooks",
        "integer",
        "Webhooks indicates the number of webhooks registered in this configuration",
    ),
    AGE,
];
/// Of `validatingadmissionpolicies`.
pub(super) static VALIDATING_ADMISSION_POLICY: [Column; 4] = [
    NAME,
    column(
        "Validations",
        "integer",
        "Validations indicates the number of validation rules defined in this configuration",
    ),
    column(
        "ParamKind",
        "string",
        "ParamKind specifies the kind of resources used to parameterize this policy",
    ),
    AGE,
];
/// Of `validatingadmissionpolicybindings`.
pub(super) static VALIDATING_ADMISSION_POLICY_BINDING: [Column; 4] = [
    NAME,
    column(
        "PolicyName",
        "string",
        "PolicyName indicates the policy definition which the policy binding binded to",
    ),
    column(
        "ParamRef",
        "string",
        "ParamRef indicates the param resource which sets the configuration param",
    ),
    AGE,
];
/// Of `mutatingadmissionpolicies`.
pub(super) static MUTATING_ADMISSION_POLICY: [Column; 4] = [
    NAME,
    column(
        "Mutations",
        "integer",
        "Mutation indicates the number of mutations rules defined in this configuration",
    ),
    column(
        "ParamKind",
        "string",
        "ParamKind specifies the kind of resources used to parameterize this policy",
    ),
    AGE,
];
/// Of `mutatingadmissionpolicybindings`.
pub(super) static MUTATING_ADMISSION_POLICY_BINDING: [Column; 4] = [
    NAME,
    column(
        "PolicyName",
        "string",
        "PolicyName indicates the policy definition which the policy binding binded to",
    ),
    column(
        "ParamRef",
        "string",
        "ParamRef indicates the param resource which sets the configuration param",
    ),
    AGE,
];
