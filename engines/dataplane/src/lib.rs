//! Links, routes, addresses and nftables through netlink.
