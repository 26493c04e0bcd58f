//! The aggregation layer: group versions of other API servers under this one's roof, as APIServices say. Invariant: a
//! request is authenticated and authorized here before it is passed on, and arrives there with the user's name in
//! headers that only the front proxy's certificate vouches for.

mod described;
mod follow;
mod front;
pub(crate) mod listing;
mod priority;
mod proxy;
mod remote;

pub(crate) use follow::follow;
pub(crate) use priority::group_priority;
use priority::{is_built_in, version_priority};
pub(crate) use proxy::{proxy, remote_for};
pub(crate) use remote::{Remote, Remotes};
