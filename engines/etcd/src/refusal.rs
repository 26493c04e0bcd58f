//! What etcd answers instead of a result: a gRPC status code and a text that clients compare. The texts are
//! upstream's, exactly.

use std::borrow::Cow;

/// A gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// Success.
    Ok = 0,
    /// Canceled.
    Canceled = 1,
    /// Unknown.
    Unknown = 2,
    /// InvalidArgument.
    InvalidArgument = 3,
    /// DeadlineExceeded.
    DeadlineExceeded = 4,
    /// NotFound.
    NotFound = 5,
    /// AlreadyExists.
    AlreadyExists = 6,
    /// PermissionDenied.
    PermissionDenied = 7,
    /// ResourceExhausted.
    ResourceExhausted = 8,
    /// FailedPrecondition.
    FailedPrecondition = 9,
    /// Aborted.
    Aborted = 10,
    /// OutOfRange.
    OutOfRange = 11,
    /// Unimplemented.
    Unimplemented = 12,
    /// Internal.
    Internal = 13,
    /// Unavailable.
    Unavailable = 14,
    /// DataLoss.
    DataLoss = 15,
    /// Unauthenticated.
    Unauthenticated = 16,
}

impl Code {
    /// The code with this number; unknown numbers are `Unknown`.
    pub fn of(number: u32) -> Code {
        use Code::*;
        const ALL: [Code; 17] = [
            Ok,
            Canceled,
            Unknown,
            InvalidArgument,
            DeadlineExceeded,
            NotFound,
            AlreadyExists,
            PermissionDenied,
            ResourceExhausted,
            FailedPrecondition,
            Aborted,
            OutOfRange,
            Unimplemented,
            Internal,
            Unavailable,
            DataLoss,
            Unauthenticated,
        ];
        ALL.get(number as usize).copied().unwrap_or(Unknown)
    }

    /// The HTTP status that the JSON gateway gives for it.
    pub fn http_status(self) -> u16 {
        match self {
            Code::Ok => 200,
            Code::Canceled => 499,
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
            Code::DeadlineExceeded => 504,
            Code::NotFound => 404,
            Code::AlreadyExists | Code::Aborted => 409,
            Code::PermissionDenied => 403,
            Code::Unauthenticated => 401,
            Code::ResourceExhausted => 429,
            Code::Unimplemented => 501,
            Code::Unavailable => 503,
            Code::Unknown | Code::Internal | Code::DataLoss => 500,
        }
    }
}

/// A call that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why, in gRPC's terms.
    pub code: Code,
    /// Why, in words.
    pub message: Cow<'static, str>,
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:ident, $text:literal;)*) => {
        $(
            #[doc = concat!("`", $text, "`")]
            pub const $name: Refusal = Refusal { code: Code::$code, message: Cow::Borrowed($text) };
        )*
    };
}

impl Refusal {
    refusals! {
        EMPTY_KEY = InvalidArgument, "etcdserver: key is not provided";
        KEY_NOT_FOUND = InvalidArgument, "etcdserver: key not found";
        VALUE_PROVIDED = InvalidArgument, "etcdserver: value is provided";
        LEASE_PROVIDED = InvalidArgument, "etcdserver: lease is provided";
        TOO_MANY_OPS = InvalidArgument, "etcdserver: too many operations in txn request";
        DUPLICATE_KEY = InvalidArgument, "etcdserver: duplicate key given in txn request";
        INVALID_SORT = InvalidArgument, "etcdserver: invalid sort option";
        COMPACTED = OutOfRange, "etcdserver: mvcc: required revision has been compacted";
        FUTURE_REVISION = OutOfRange, "etcdserver: mvcc: required revision is a future revision";
        NO_SPACE = ResourceExhausted, "etcdserver: mvcc: database space exceeded";
        LEASE_NOT_FOUND = NotFound, "etcdserver: requested lease not found";
        LEASE_EXISTS = FailedPrecondition, "etcdserver: lease already exists";
        LEASE_TTL_TOO_LARGE = OutOfRange, "etcdserver: too large lease TTL";
        WATCH_CANCELED = Canceled, "etcdserver: watch canceled";
        MEMBER_NOT_ENOUGH_STARTED = FailedPrecondition, "etcdserver: re-configuration failed due to not enough started members";
        MEMBER_NOT_FOUND = NotFound, "etcdserver: member not found";
        MEMBER_NOT_LEARNER = FailedPrecondition, "etcdserver: can only promote a learner member";
        MEMBER_BAD_URLS = InvalidArgument, "etcdserver: given member URLs are invalid";
        REQUEST_TOO_LARGE = InvalidArgument, "etcdserver: request is too large";
        TOO_MANY_REQUESTS = ResourceExhausted, "etcdserver: too many requests";
        ROOT_USER_NOT_EXIST = FailedPrecondition, "etcdserver: root user does not exist";
        USER_EMPTY = InvalidArgument, "etcdserver: user name is empty";
        USER_NOT_FOUND = FailedPrecondition, "etcdserver: user name not found";
        ROLE_NOT_FOUND = FailedPrecondition, "etcdserver: role name not found";
        ROLE_EMPTY = InvalidArgument, "etcdserver: role name is empty";
        AUTH_NOT_ENABLED = FailedPrecondition, "etcdserver: authentication is not enabled";
        NO_LEADER = Unavailable, "etcdserver: no leader";
        STOPPED = Unavailable, "etcdserver: server stopped";
        TIMEOUT = Unavailable, "etcdserver: request timed out";
        UNHEALTHY = Unavailable, "etcdserver: unhealthy cluster";
        CORRUPT = DataLoss, "etcdserver: corrupt cluster";
        BAD_LEADER_TRANSFEREE = FailedPrecondition, "etcdserver: bad leader transferee";
        NO_DOWNGRADE = FailedPrecondition, "etcdserver: no inflight downgrade job";
        WRONG_DOWNGRADE_VERSION = InvalidArgument, "etcdserver: wrong downgrade target version format";
        INVALID_DOWNGRADE_VERSION = InvalidArgument, "etcdserver: invalid downgrade target version";
    }

    /// A refusal in words of its own.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
        }
    }

    /// Whether the same call may succeed later or elsewhere.
    pub fn is_transient(&self) -> bool {
        self.code == Code::Unavailable || *self == Refusal::TOO_MANY_REQUESTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_keep_their_numbers() {
        for number in 0..17 {
            assert_eq!(Code::of(number) as u32, number);
        }
        assert_eq!(Code::of(99), Code::Unknown);
    }
}
