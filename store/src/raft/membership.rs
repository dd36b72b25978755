//! Who the members are, asked and changed through the store's handle.

use std::time::Duration;

use async_trait::async_trait;

use super::driver::Input;
use super::replica::{Answer, Proposal};
use super::store::RaftStore;
use crate::{Error, Member, MemberChange, Members, Membership};

/// How long a member waits before it says again what it is called.
const SAY_AGAIN: Duration = Duration::from_millis(500);

impl RaftStore {
    /// Adds a member that votes at once; answers it with its number. See [`Membership::change_members`].
    ///
    /// # Errors
    /// As there.
    pub async fn add_member(&self, member: Member) -> Result<Member, Error> {
        let before = self.inner.standing().members;
        let after = self.change_members(vec![MemberChange::Add(member)]).await?;
        let added = after.members.into_iter().rev().find(|member| before.get(member.id).is_none());
        added.ok_or_else(|| Error::unavailable("the member was removed again meanwhile"))
    }

    /// Adds a member that only follows; answers it with its number. See [`Membership::change_members`].
    ///
    /// # Errors
    /// As there.
    pub async fn add_learner(&self, member: Member) -> Result<Member, Error> {
        self.add_member(member.learner()).await
    }

    /// Lets a learner vote. See [`Membership::change_members`].
    ///
    /// # Errors
    /// As there.
    pub async fn promote(&self, id: u64) -> Result<Members, Error> {
        self.change_members(vec![MemberChange::Promote(id)]).await
    }

    /// Removes a member. See [`Membership::change_members`].
    ///
    /// # Errors
    /// As there.
    pub async fn remove_member(&self, id: u64) -> Result<Members, Error> {
        self.change_members(vec![MemberChange::Remove(id)]).await
    }

    /// Tells all members what this one is called and where clients reach it, if they do not know it yet. Tries until
    /// it is through, which takes a leader, and, for a member that has only just joined, that it has caught up.
    ///
    /// # Errors
    /// Those after which there is no point in trying again: [`Error::InvalidRequest`], [`Error::Failed`],
    /// [`Error::Closed`].
    pub async fn announce(&self, name: &str, client_urls: &[String]) -> Result<(), Error> {
        let (id, name, client_urls) = (self.inner.id, name.to_owned(), client_urls.to_vec());
        loop {
            let known = self.inner.standing().members;
            match known.get(id) {
                Some(own) if own.name == name && own.client_urls == client_urls => return Ok(()),
                // Nobody is told before this member knows that it is one.
                None => {}
                Some(_) => {
                    let change = MemberChange::Announce { id, name: name.clone(), client_urls: client_urls.clone() };
                    match self.change_members(vec![change]).await {
                        Ok(_) => return Ok(()),
                        Err(error @ (Error::InvalidRequest { .. } | Error::Failed { .. } | Error::Closed)) => {
                            return Err(error);
                        }
                        Err(error) => tracing::debug!(%error, "this member's name is told again later"),
                    }
                }
            }
            self.inner.core.check_open()?;
            tokio::time::sleep(SAY_AGAIN).await;
        }
    }
}

#[async_trait]
impl Membership for RaftStore {
    async fn members(&self, linearizable: bool) -> Result<Members, Error> {
        if linearizable {
            self.inner.catch_up().await?;
        }
        self.inner.core.check_open()?;
        Ok(self.inner.standing().members)
    }

    async fn change_members(&self, changes: Vec<MemberChange>) -> Result<Members, Error> {
        // Those that are added get numbers by what this replica knows.
        self.inner.catch_up().await?;
        match self.inner.propose(Proposal::Members(changes)).await? {
            Answer::Members(members) => Ok(members),
            other => Err(Error::Failed { reason: format!("unexpected answer {other:?}") }),
        }
    }

    async fn transfer_leader(&self, to: u64) -> Result<(), Error> {
        if !self.inner.standing().replication.voters.contains(&to) {
            return Err(Error::MemberNotFound { member: to });
        }
        self.inner
            .in_time(async {
                let mut leader = self.inner.leader.clone();
                self.inner.send(Input::TransferLeader(to))?;
                let leads = leader.wait_for(|leader| *leader == Some(to)).await;
                leads.map(drop).map_err(|_| self.inner.gone())
            })
            .await
    }
}
