//! The Cluster service, and who leads.

use tonic::Status;

use super::Inner;
use super::convert::status;
use crate::proto::{
    HeaderResponse, Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberRequest,
    MemberUpdateRequest,
};
use crate::{Error, MemberChange, Members, Membership, StoreStatus};

impl Inner {
    pub(super) async fn member_list(&self, request: MemberListRequest) -> Result<MemberListResponse, Status> {
        let (found, header) = self.found().await?;
        let members = match &self.members {
            Some(members) => all(members.members(request.linearizable).await.map_err(status)?),
            None => self.members_by_status(&found),
        };
        Ok(MemberListResponse { header: Some(header), members })
    }

    pub(super) async fn member_add(&self, request: MemberAddRequest) -> Result<MemberAddResponse, Status> {
        check_urls(&request.peer_urls)?;
        let before = self.membership()?.members(true).await.map_err(status)?;
        let member = crate::Member { peer_urls: request.peer_urls, is_learner: request.is_learner, ..<_>::default() };
        let after = self.change(MemberChange::Add(member)).await?;
        let new = after.members.iter().find(|member| before.get(member.id).is_none());
        let new = new.map(|new| one(new.clone()));
        Ok(MemberAddResponse { header: Some(self.newest_header().await?), member: new, members: all(after) })
    }

    pub(super) async fn member_remove(&self, request: MemberRequest) -> Result<MemberListResponse, Status> {
        let after = self.change(MemberChange::Remove(request.id)).await?;
        self.changed(after).await
    }

    pub(super) async fn member_update(&self, request: MemberUpdateRequest) -> Result<MemberListResponse, Status> {
        let MemberUpdateRequest { id, peer_urls } = request;
        check_urls(&peer_urls)?;
        let after = self.change(MemberChange::MovePeer { id, peer_urls }).await?;
        self.changed(after).await
    }

    pub(super) async fn member_promote(&self, request: MemberRequest) -> Result<MemberListResponse, Status> {
        let members = self.membership()?.members(true).await.map_err(status)?;
        if members.get(request.id).is_some_and(|member| !member.is_learner) {
            return Err(Status::failed_precondition("etcdserver: can only promote a learner member"));
        }
        let after = self.change(MemberChange::Promote(request.id)).await?;
        self.changed(after).await
    }

    pub(super) async fn move_leader(&self, request: MemberRequest) -> Result<HeaderResponse, Status> {
        let moved = self.membership()?.transfer_leader(request.id).await;
        moved.map_err(|error| match error {
            Error::MemberNotFound { .. } => Status::failed_precondition("etcdserver: bad leader transferee"),
            error => status(error),
        })?;
        Ok(HeaderResponse { header: Some(self.newest_header().await?) })
    }

    fn membership(&self) -> Result<&dyn Membership, Status> {
        let none = || Status::unimplemented("etcdserver: this store has one member, which cannot be changed");
        self.members.as_deref().ok_or_else(none)
    }

    async fn change(&self, change: MemberChange) -> Result<Members, Status> {
        self.membership()?.change_members(vec![change]).await.map_err(status)
    }

    async fn changed(&self, after: Members) -> Result<MemberListResponse, Status> {
        Ok(MemberListResponse { header: Some(self.newest_header().await?), members: all(after) })
    }

    /// The members of a store that tells of them in its status alone.
    fn members_by_status(&self, found: &StoreStatus) -> Vec<Member> {
        let own = Member {
            id: self.config.member_id,
            name: self.config.name.clone(),
            peer_urls: self.config.peer_urls.clone(),
            client_urls: self.config.client_urls.clone(),
            is_learner: false,
        };
        let Some(replication) = &found.replication else { return vec![own] };
        let member = |id: &u64, is_learner| {
            if *id == replication.id {
                return Member { id: *id, is_learner, ..own.clone() };
            }
            Member { id: *id, name: id.to_string(), is_learner, ..Member::default() }
        };
        let voters = replication.voters.iter().map(|id| member(id, false));
        voters.chain(replication.learners.iter().map(|id| member(id, true))).collect()
    }
}

/// Where a member is to be reached: each as `http://host:port` or with `https`, and nothing behind it.
fn check_urls(urls: &[String]) -> Result<(), Status> {
    let is_sound = |url: &String| {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let authority = rest.and_then(|rest| rest.parse::<http::uri::Authority>().ok());
        authority.is_some_and(|authority| authority.port_u16().is_some() && !authority.host().is_empty())
    };
    if urls.is_empty() || !urls.iter().all(is_sound) {
        return Err(Status::invalid_argument("etcdserver: given member URLs are invalid"));
    }
    Ok(())
}

fn all(members: Members) -> Vec<Member> {
    members.members.into_iter().map(one).collect()
}

fn one(member: crate::Member) -> Member {
    let crate::Member { id, name, peer_urls, client_urls, is_learner } = member;
    Member { id, name, peer_urls, client_urls, is_learner }
}
