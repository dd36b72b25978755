//! Everything that is measured of one server, in turn.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::client::{Connection, get, json as json_request, send};
use crate::collections::{self, JSON, PROTOBUF};
use crate::objects::{configmap, configmaps, pod};
use crate::repeat::{Repeated, each, repeat};
use crate::servers::{Kind, Server};
use crate::side_by_side::{Goal, Table};
use crate::{Flags, watchers};

/// How many objects are in the collection that is listed.
const LISTED: usize = 5000;
const APPLY: &str = "application/apply-patch+yaml";
/// How long a server is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(10);

pub(crate) struct Pass<'a> {
    pub(crate) flags: &'a Flags,
    pub(crate) seconds: Duration,
}

/// One server's column of the table.
struct Column<'a> {
    table: &'a mut Table,
    is_ours: bool,
}

impl Column<'_> {
    fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64, goal: Goal) {
        self.table.add(usize::from(!self.is_ours), name, unit, value, goal);
    }

    fn rate(&mut self, name: &str, unit: &'static str, found: &Repeated, goal: Goal) {
        self.add(name, unit, found.rate, goal);
        self.add(format!("{name}: half within"), "ms", found.p50_ms, Goal::None);
        self.add(format!("{name}: 99 % within"), "ms", found.p99_ms, Goal::None);
        self.add(format!("{name}: servers' CPU for one"), "µs", found.cpu_micros, Goal::None);
    }
}

impl Pass<'_> {
    pub(crate) async fn run(&self, kind: &Kind, table: &mut Table) -> Result<()> {
        let mut column = Column { table, is_ours: matches!(kind, Kind::Ours) };
        let server = Server::start(kind, &self.flags.dir).await?;
        let result = self.measure(&server, &mut column).await;
        server.stop().await?;
        result
    }

    fn wants(&self, name: &str) -> bool {
        name.contains(&self.flags.only)
    }

    async fn measure(&self, server: &Server, column: &mut Column<'_>) -> Result<()> {
        if self.wants("start") {
            column.add("start to ready", "ms", server.started.as_secs_f64() * 1e3, Goal::TimesLess(10.0));
            tokio::time::sleep(IDLE).await;
            column.add("idle memory, store included", "MB", server.memory()?, Goal::TimesLess(8.0));
        }
        prepare(server).await?;
        if self.wants("create") {
            let path = configmaps("create");
            let request = |n: usize| json_request("POST", &path, &configmap(&format!("c-{n}"), n));
            let found = repeat(server, self.flags.connections, self.seconds, request).await?;
            column.rate(&format!("create, {} connections", self.flags.connections), "/s", &found, Goal::Times(5.0));
        }
        if ["get", "list", "update", "apply", "delete"].iter().any(|part| self.wants(part)) {
            self.collection(server, column).await?;
        }
        if self.wants("watch") {
            self.watch(server, column).await?;
        }
        if self.wants("pods") && (column.is_ours || self.flags.pods_beside) {
            self.pods(server, column).await?;
        }
        Ok(())
    }

    /// What is done with the 5,000 objects of one collection.
    async fn collection(&self, server: &Server, column: &mut Column<'_>) -> Result<()> {
        let (path, many) = (configmaps("list"), self.flags.connections);
        let name = |n: usize| format!("{path}/c-{}", n * 7919 % LISTED);
        each(&server.place, 32, LISTED, |n| json_request("POST", &path, &configmap(&format!("c-{n}"), n))).await?;
        if self.wants("get") {
            let found = repeat(server, many, self.seconds, |n| get(&name(n))).await?;
            column.rate(&format!("get, {many} connections"), "/s", &found, Goal::Times(5.0));
            let found = repeat(server, 1, self.seconds, |n| get(&name(n))).await?;
            column.rate("get, 1 connection", "/s", &found, Goal::Times(5.0));
            let cached = |n: usize| get(&format!("{}?resourceVersion=0", name(n)));
            let found = repeat(server, many, self.seconds, cached).await?;
            column.rate(&format!("get of any version, {many} connections"), "/s", &found, Goal::Times(5.0));
        }
        if self.wants("list") {
            for (what, query, accept) in [
                ("list of 5,000 ConfigMaps, JSON", "", JSON),
                ("list of 5,000 ConfigMaps, protobuf", "", PROTOBUF),
                ("list of 100 of them by label, JSON", "?labelSelector=app%3Dapp-7", JSON),
            ] {
                let (took, length) = collections::list(server, &format!("{path}{query}"), accept, 20).await?;
                column.add(what, "ms", took, Goal::TimesLess(5.0));
                column.add(format!("{what}: length"), "KB", length as f64 / 1e3, Goal::None);
            }
        }
        if self.wants("update") {
            let request = |n: usize| {
                let mut object = configmap(&format!("c-{}", n * 7919 % LISTED), n);
                object["data"]["changed"] = format!("update-{n}").into();
                json_request("PUT", &name(n), &object)
            };
            let found = repeat(server, many, self.seconds, request).await?;
            column.rate(&format!("update, {many} connections"), "/s", &found, Goal::Times(5.0));
        }
        if self.wants("apply") {
            let request = |n: usize| {
                let object = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": { "name": format!("c-{}", n * 7919 % LISTED), "labels": { "applied": "yes" } },
                    "data": { "applied": n.to_string(), "by": "bench" },
                });
                let target = format!("{}?fieldManager=bench-apply&force=true", name(n));
                send("PATCH", &target, APPLY, object.to_string().as_bytes())
            };
            let found = repeat(server, many, self.seconds, request).await?;
            column.rate(&format!("server-side apply, {many} connections"), "/s", &found, Goal::Times(3.0));
        }
        if self.wants("delete") {
            let took = collections::delete(server, &path).await?;
            column.add("deletecollection of 5,000", "ms", took.as_secs_f64() * 1e3, Goal::TimesLess(20.0));
        }
        Ok(())
    }

    async fn watch(&self, server: &Server, column: &mut Column<'_>) -> Result<()> {
        let found =
            watchers::watch(server, self.flags.watchers, 500.0, self.seconds.max(Duration::from_secs(8))).await?;
        let name = format!("{} watchers, 500 changes/s", self.flags.watchers);
        column.add(format!("{name}: 99 % delivered within"), "ms", found.p99_ms, Goal::AtMost(50.0));
        column.add(format!("{name}: half delivered within"), "ms", found.p50_ms, Goal::None);
        column.add(format!("{name}: events delivered"), "%", found.delivered, Goal::None);
        column.add(format!("{name}: changes made"), "/s", found.changes_per_second, Goal::None);
        column.add(format!("{name}: servers' CPU"), "% of a core", found.cpu_share, Goal::None);
        Ok(())
    }

    async fn pods(&self, server: &Server, column: &mut Column<'_>) -> Result<()> {
        let (count, path) = (self.flags.pods, "/api/v1/namespaces/pods/pods");
        let before = server.memory()?;
        each(&server.place, 64, count, |n| json_request("POST", path, &pod(n))).await?;
        // As it is right after, and not before the history of it is gone.
        tokio::time::sleep(IDLE).await;
        let memory = server.memory()? - before;
        let (took, length) = collections::list(server, path, JSON, 3).await?;
        let name = format!("{count} pods");
        column.add(format!("{name}: list"), "ms", took, Goal::AtMost(1000.0));
        column.add(format!("{name}: length of the list"), "MB", length as f64 / 1e6, Goal::None);
        column.add(
            format!("{name}: memory for them"),
            "times their JSON",
            memory * 1e6 / length as f64,
            Goal::AtMost(4.0),
        );
        column.add(format!("{name}: most memory ever"), "MB", server.memory_peak()?, Goal::None);
        Ok(())
    }
}

/// Binds the client to `cluster-admin`, and makes the namespaces.
async fn prepare(server: &Server) -> Result<()> {
    let mut admin = Connection::open(&server.admin).await?;
    let binding = json!({
        "metadata": { "name": "bench" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bench" }],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    admin.expect(&json_request("POST", path, &binding)).await?;
    for namespace in ["create", "list", "watch", "pods"] {
        let object = json!({ "metadata": { "name": namespace } });
        admin.expect(&json_request("POST", "/api/v1/namespaces", &object)).await?;
        // What the controller manager would make; pods are not let in without it.
        let account = json!({ "metadata": { "name": "default" } });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        admin.expect(&json_request("POST", &path, &account)).await?;
    }
    // The binding is followed, not read.
    let mut bench = Connection::open(&server.place).await?;
    for _ in 0..500 {
        if bench.ask(&get("/api/v1/namespaces/list/configmaps?limit=1")).await? == 200 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("the client is not let in")
}
