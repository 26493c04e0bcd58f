//! The numbers of nf_tables' netlink interface that are used here (include/uapi/linux/netfilter/nf_tables.h).

use corten_netplan::Family;

pub const BATCH_BEGIN: u16 = 0x10;
pub const BATCH_END: u16 = 0x11;
pub const BATCH_GENERATION: u16 = 1;
const SUBSYSTEM: u16 = 10;

pub const NEW_TABLE: u16 = SUBSYSTEM << 8;
pub const GET_TABLE: u16 = SUBSYSTEM << 8 | 1;
pub const DEL_TABLE: u16 = SUBSYSTEM << 8 | 2;
pub const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
pub const DEL_CHAIN: u16 = SUBSYSTEM << 8 | 5;
pub const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
pub const DEL_RULE: u16 = SUBSYSTEM << 8 | 8;
pub const NEW_SET: u16 = SUBSYSTEM << 8 | 9;
pub const DEL_SET: u16 = SUBSYSTEM << 8 | 11;
pub const NEW_ELEMENT: u16 = SUBSYSTEM << 8 | 12;
pub const DEL_ELEMENT: u16 = SUBSYSTEM << 8 | 14;
pub const GET_GENERATION: u16 = SUBSYSTEM << 8 | 16;

pub const TABLE_NAME: u16 = 1;
pub const TABLE_USE: u16 = 3;
pub const TABLE_HANDLE: u16 = 4;
pub const GENERATION_ID: u16 = 1;

pub const CHAIN_TABLE: u16 = 1;
pub const CHAIN_NAME: u16 = 3;
pub const CHAIN_HOOK: u16 = 4;
pub const CHAIN_POLICY: u16 = 5;
pub const CHAIN_TYPE: u16 = 7;
pub const HOOK_NUMBER: u16 = 1;
pub const HOOK_PRIORITY: u16 = 2;

pub const RULE_TABLE: u16 = 1;
pub const RULE_CHAIN: u16 = 2;
pub const RULE_EXPRESSIONS: u16 = 4;
pub const LIST_ELEMENT: u16 = 1;
pub const EXPRESSION_NAME: u16 = 1;
pub const EXPRESSION_DATA: u16 = 2;

pub const SET_TABLE: u16 = 1;
pub const SET_NAME: u16 = 2;
pub const SET_FLAGS: u16 = 3;
pub const SET_KEY_TYPE: u16 = 4;
pub const SET_KEY_LENGTH: u16 = 5;
pub const SET_DATA_TYPE: u16 = 6;
pub const SET_DATA_LENGTH: u16 = 7;
pub const SET_DESCRIPTION: u16 = 9;
pub const SET_ID: u16 = 10;
pub const SET_TIMEOUT: u16 = 11;
pub const SET_USERDATA: u16 = 13;
pub const SET_DESCRIPTION_SIZE: u16 = 1;

pub const SET_ANONYMOUS: u32 = 0x1;
pub const SET_CONSTANT: u32 = 0x2;
pub const SET_MAP: u32 = 0x8;
pub const SET_HAS_TIMEOUT: u32 = 0x10;
pub const SET_DYNAMIC: u32 = 0x20;
/// `SET_DATA_TYPE` of a map to verdicts.
pub const DATA_VERDICT: u32 = 0xffff_ff00;

pub const ELEMENTS_TABLE: u16 = 1;
pub const ELEMENTS_SET: u16 = 2;
pub const ELEMENTS_LIST: u16 = 3;
pub const ELEMENTS_SET_ID: u16 = 4;
pub const ELEMENT_KEY: u16 = 1;
pub const ELEMENT_DATA: u16 = 2;
pub const DATA_VALUE: u16 = 1;
pub const DATA_IS_VERDICT: u16 = 2;
pub const VERDICT_CODE: u16 = 1;
pub const VERDICT_CHAIN: u16 = 2;

pub const VERDICT_DROP: u32 = 0;
pub const VERDICT_ACCEPT: u32 = 1;
pub const VERDICT_JUMP: u32 = -3i32 as u32;
pub const VERDICT_GOTO: u32 = -4i32 as u32;
pub const VERDICT_RETURN: u32 = -5i32 as u32;

/// The register that verdicts are written to.
pub const REGISTER_VERDICT: u32 = 0;
/// The first of sixteen registers of 4 bytes.
pub const REGISTER: u32 = 8;

/// `nft`'s numbers of data types, by which it prints sets; the kernel only stores them.
pub const TYPE_INTEGER: u32 = 4;
pub const TYPE_IPV4: u32 = 7;
pub const TYPE_IPV6: u32 = 8;
pub const TYPE_PROTOCOL: u32 = 12;
pub const TYPE_PORT: u32 = 13;
/// Bits that each part of a concatenated type takes.
pub const TYPE_BITS: u32 = 6;

/// The family number of nf_tables.
pub fn family(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}
