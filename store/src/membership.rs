//! Who keeps a store together, for stores that several machines keep.

use std::sync::Arc;

use async_trait::async_trait;

use crate::Error;

/// One machine of those that keep a store together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Member {
    /// Its number: above 0, and never given to another member of the same cluster, even after it was removed.
    pub id: u64,
    /// What it calls itself; empty until it has said so.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has said so.
    pub client_urls: Vec<String>,
    /// Whether it only follows: it has all data, but does not count for a majority.
    pub is_learner: bool,
}

impl Member {
    /// A member that votes, of which nothing more is known.
    pub fn voter(id: u64) -> Self {
        Self { id, ..Self::default() }
    }

    /// The same with a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same, reached by other members at this URL too.
    #[must_use]
    pub fn peer_url(mut self, url: impl Into<String>) -> Self {
        self.peer_urls.push(url.into());
        self
    }

    /// The same, as one that only follows.
    #[must_use]
    pub const fn learner(mut self) -> Self {
        self.is_learner = true;
        self
    }
}

/// All members, as one of them knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Members {
    /// The cluster's number: members of another cluster are not listened to.
    pub cluster_id: u64,
    /// The member that answered.
    pub answered_by: u64,
    /// The member that leads, if there is one.
    pub leader: Option<u64>,
    /// All members, by number.
    pub members: Vec<Member>,
}

impl Members {
    /// An answer; for implementations of [`Membership`].
    pub const fn new(cluster_id: u64, answered_by: u64, leader: Option<u64>, members: Vec<Member>) -> Self {
        Self { cluster_id, answered_by, leader, members }
    }

    /// The member of this number.
    pub fn get(&self, id: u64) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }
}

/// One change of who keeps a store together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberChange {
    /// Add a member; the cluster gives it its number. One that is to vote counts for a majority at once, even
    /// before it is started: add it as a learner, and promote it when it has caught up.
    Add(Member),
    /// Let a learner vote. It must have caught up.
    Promote(u64),
    /// Remove a member. Its number is never used again.
    Remove(u64),
    /// Others reach a member at other URLs from now on.
    MovePeer {
        /// The member.
        id: u64,
        /// Where the other members reach it.
        peer_urls: Vec<String>,
    },
    /// A member says what it is called and where clients reach it.
    Announce {
        /// The member.
        id: u64,
        /// What it calls itself.
        name: String,
        /// Where clients reach it.
        client_urls: Vec<String>,
    },
}

/// How the reasons begin for which a change is refused, where clients of etcd know them by words of their own.
#[cfg(any(feature = "raft", feature = "face"))]
pub(crate) mod refusal {
    /// A learner lacks what the others have.
    pub(crate) const NOT_IN_SYNC: &str = "can only promote a learner member which is in sync with leader";
    /// Too few members would be up.
    pub(crate) const NOT_ENOUGH_UP: &str = "re-configuration failed due to not enough started members";
    /// Another member is reached there.
    pub(crate) const URL_IS_TAKEN: &str = "Peer URLs already exists";
}

/// A power that a [`Store`](crate::Store) may have beside storing: several members keep it, and they can change.
///
/// It is a trait of its own, so that a store of one machine need not pretend. Whoever serves a store (etcd's
/// `Cluster` service, say) takes an `Option<Arc<dyn Membership>>` next to the `Arc<dyn Store>`.
///
/// # Promises
///
/// - Changes happen one after the other, at the same place in the order of commits for all members, and
///   several changes given together happen together (by joint consensus): replacing a member never passes
///   through a moment with one more, or one less.
/// - A change that would leave the cluster without a majority that is up is refused with
///   [`Error::Refused`], and so is promoting a learner that has not caught up.
/// - When a method returns `Ok`, a majority has it; on [`Error::Unavailable`] it may or may not have happened.
#[async_trait]
pub trait Membership: Send + Sync + 'static {
    /// The members: as of now, confirmed by a majority, or with `linearizable` false as far as this member
    /// knows, which always answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a majority.
    async fn members(&self, linearizable: bool) -> Result<Members, Error>;

    /// Makes these changes together; answers the members after them, the added ones with their numbers.
    ///
    /// # Errors
    /// [`Error::MemberNotFound`]; [`Error::Refused`] for a change that is not safe now or while another is under
    /// way; [`Error::InvalidRequest`] for one that makes no sense. Nothing was changed then.
    async fn change_members(&self, changes: Vec<MemberChange>) -> Result<Members, Error>;

    /// Lets another member lead, and returns when it does.
    ///
    /// # Errors
    /// [`Error::MemberNotFound`] for one that is no member that votes; [`Error::Unavailable`] if it did not come
    /// to lead in time.
    async fn transfer_leader(&self, to: u64) -> Result<(), Error>;
}

macro_rules! forward_membership {
    ($type:ty) => {
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Membership + ?Sized> Membership for $type {
            async fn members(&self, linearizable: bool) -> Result<Members, Error> {
                (**self).members(linearizable).await
            }

            async fn change_members(&self, changes: Vec<MemberChange>) -> Result<Members, Error> {
                (**self).change_members(changes).await
            }

            async fn transfer_leader(&self, to: u64) -> Result<(), Error> {
                (**self).transfer_leader(to).await
            }
        }
    };
}

forward_membership!(Arc<T>);
forward_membership!(Box<T>);
