//! The face of etcd, seen by etcd's own client. It fails where `etcdctl` is not installed.
#![cfg(feature = "etcd-tests")]

#[path = "etcdctl/members.rs"]
mod members;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use kubewright_store::{DiskStore, Face, FaceConfig, MemoryStore, Revision};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Etcdctl {
    endpoint: String,
}

impl Etcdctl {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(&self.endpoint).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command with some input; answers what it printed.
    fn try_with(&self, input: &str, arguments: &[&str]) -> Result<String, String> {
        let mut child = self.command(arguments).spawn().expect("etcdctl starts");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("input");
        let output = child.wait_with_output().expect("etcdctl ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        self.try_with("", arguments).unwrap_or_else(|error| panic!("etcdctl {arguments:?}: {error}"))
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], reason: &str) {
        let error = self.try_with("", arguments).expect_err("etcdctl should fail");
        assert!(error.contains(reason), "etcdctl {arguments:?}: {error}");
    }

    /// Runs a command that goes on until the text appears.
    fn until(&self, arguments: &[&str], act: impl FnOnce(), texts: &[&str]) {
        let mut child = self.command(arguments).spawn().expect("etcdctl starts");
        let output = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        act();
        for text in texts {
            loop {
                let line = lines.recv_timeout(Duration::from_secs(30)).expect("more output");
                if line.contains(text) {
                    break;
                }
            }
        }
        child.kill().expect("it still runs");
        child.wait().expect("it ends");
        drop(lines);
        reader.join().expect("the reader");
    }
}

/// Serves a fresh store and lets the checks loose on it.
fn with_etcdctl(checks: impl FnOnce(&Etcdctl) + Send + 'static) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = listener.local_addr().expect("an address").to_string();
        let (store, mut config) = (Arc::new(MemoryStore::new()), FaceConfig::default());
        config.client_urls = vec![endpoint.clone()];
        let face = Face::new(store.clone(), config).backup(store);
        let cancelled = CancellationToken::new();
        let server = tokio::spawn({
            let cancelled = cancelled.clone();
            async move { face.serve(listener, None, cancelled).await }
        });
        let checks = tokio::task::spawn_blocking(move || checks(&Etcdctl { endpoint }));
        checks.await.expect("the checks hold");
        cancelled.cancel();
        server.await.expect("the server ends");
    });
}

#[test]
fn keys_are_put_read_and_deleted() {
    with_etcdctl(|etcdctl| {
        assert_eq!(etcdctl.run(&["put", "a", "1"]), "OK\n");
        assert_eq!(etcdctl.run(&["get", "a"]), "a\n1\n");
        assert_eq!(etcdctl.run(&["put", "a", "2", "--prev-kv"]), "OK\na\n1\n");
        assert_eq!(etcdctl.run(&["get", "a", "--rev", "2"]), "a\n1\n");
        assert_eq!(etcdctl.run(&["get", "absent"]), "");
        for key in ["p/3", "p/1", "p/2", "q"] {
            etcdctl.run(&["put", key, &format!("value of {key}")]);
        }
        assert_eq!(etcdctl.run(&["get", "p/", "--prefix", "--keys-only"]), "p/1\n\np/2\n\np/3\n\n");
        assert_eq!(etcdctl.run(&["get", "p/", "--prefix", "--limit", "1"]), "p/1\nvalue of p/1\n");
        assert_eq!(etcdctl.run(&["get", "p/2", "q", "--print-value-only"]), "value of p/2\nvalue of p/3\n");
        assert_eq!(etcdctl.run(&["get", "p/3", "--from-key", "--print-value-only"]), "value of p/3\nvalue of q\n");
        let sorted =
            ["get", "", "--prefix", "--keys-only", "--sort-by", "MODIFY", "--order", "DESCEND", "--limit", "2"];
        assert_eq!(etcdctl.run(&sorted), "q\n\np/2\n\n");
        let count = etcdctl.run(&["get", "p/", "--prefix", "--limit", "1", "--write-out", "fields"]);
        assert!(count.contains("\"Count\" : 3"), "{count}");
        assert_eq!(etcdctl.run(&["del", "p/", "--prefix", "--prev-kv"]).lines().count(), 7);
        assert_eq!(etcdctl.run(&["del", "absent"]), "0\n");
        etcdctl.fails(&["get", "a", "--rev", "99"], "required revision is a future revision");
        etcdctl.fails(&["put", "", "1"], "key is not provided");
    });
}

/// The client of 3.4 sends the whole URL as a request's authority when it has one, which HTTP/2 does not allow.
#[test]
fn members_that_are_named_without_a_scheme_are_asked_by_any_client() {
    with_etcdctl(|etcdctl| {
        for asked in ["status", "hashkv"] {
            let told = etcdctl.run(&["endpoint", asked, "--cluster"]);
            assert!(told.starts_with(&format!("{}, ", etcdctl.endpoint)), "{told}");
        }
    });
}

#[test]
fn transactions_choose_a_branch() {
    with_etcdctl(|etcdctl| {
        etcdctl.run(&["put", "a", "1"]);
        let txn = |input| etcdctl.try_with(input, &["txn"]).expect("a transaction");
        let first = txn("value(\"a\") = \"1\"\nversion(\"b\") = \"0\"\n\nput b 2\nget a\n\nget b\n\n");
        assert_eq!(first, "SUCCESS\n\nOK\n\na\n1\n");
        let second = txn("mod(\"b\") < \"3\"\n\nput b 3\n\ndel a\nget b\n\n");
        assert_eq!(second, "FAILURE\n\n1\n\nb\n2\n");
        let twice = etcdctl.try_with("\nput c 1\nput c 2\n\n\n", &["txn"]);
        assert!(twice.expect_err("a key twice").contains("duplicate key given in txn request"));
    });
}

#[test]
fn watches_deliver_history_and_what_comes() {
    with_etcdctl(|etcdctl| {
        etcdctl.run(&["put", "p/1", "old"]);
        etcdctl.run(&["put", "p/1", "new"]);
        let act = || {
            etcdctl.run(&["put", "other", "x"]);
            etcdctl.run(&["put", "p/2", "live"]);
            etcdctl.run(&["del", "p/1"]);
        };
        let watch = ["watch", "p/", "--prefix", "--rev", "2", "--prev-kv"];
        etcdctl.until(&watch, act, &["old", "old", "new", "live", "DELETE", "new"]);
        etcdctl.run(&["compact", "4"]);
        let refused = etcdctl.try_with("", &["watch", "p/", "--prefix", "--rev", "2"]);
        let text = refused.unwrap_or_else(|error| error);
        assert!(text.contains("required revision has been compacted"), "{text}");
    });
}

#[test]
fn leases_are_granted_kept_and_revoked() {
    with_etcdctl(|etcdctl| {
        let granted = etcdctl.run(&["lease", "grant", "600"]);
        let id = granted.split_whitespace().nth(1).expect("an id");
        etcdctl.run(&["put", "leased", "1", "--lease", id]);
        let status = etcdctl.run(&["lease", "timetolive", id, "--keys"]);
        assert!(status.contains("granted with TTL(600s)") && status.contains("leased"), "{status}");
        assert!(etcdctl.run(&["lease", "list"]).contains(id));
        assert!(etcdctl.run(&["lease", "keep-alive", "--once", id]).contains("keepalived with TTL(600)"));
        etcdctl.run(&["lease", "revoke", id]);
        assert_eq!(etcdctl.run(&["get", "leased"]), "");
        assert!(etcdctl.run(&["lease", "timetolive", id]).contains("already expired"));
        etcdctl.fails(&["lease", "revoke", id], "requested lease not found");
        etcdctl.fails(&["put", "a", "1", "--lease", id], "requested lease not found");
    });
}

#[test]
fn history_is_compacted() {
    with_etcdctl(|etcdctl| {
        for n in 0..5 {
            etcdctl.run(&["put", "a", &n.to_string()]);
        }
        assert_eq!(etcdctl.run(&["compact", "4"]), "compacted revision 4\n");
        etcdctl.fails(&["get", "a", "--rev", "3"], "required revision has been compacted");
        etcdctl.fails(&["compact", "4"], "required revision has been compacted");
        etcdctl.fails(&["compact", "40"], "required revision is a future revision");
        assert_eq!(etcdctl.run(&["get", "a", "--rev", "4"]), "a\n2\n");
    });
}

#[test]
fn the_store_tells_of_itself() {
    with_etcdctl(|etcdctl| {
        etcdctl.run(&["put", "a", "1"]);
        assert!(etcdctl.try_with("", &["endpoint", "health"]).is_ok());
        let status = etcdctl.run(&["endpoint", "status", "--write-out", "fields"]);
        assert!(status.contains("\"Revision\" : 2") && status.contains("\"Leader\" : 1"), "{status}");
        let hash = |at: &str| etcdctl.run(&["endpoint", "hashkv", "--rev", at]);
        let before = hash("2");
        etcdctl.run(&["put", "a", "2"]);
        assert_eq!(hash("2"), before);
        assert_ne!(hash("3"), before);
        assert!(etcdctl.run(&["member", "list"]).contains("default"));
        assert!(etcdctl.run(&["defrag"]).contains("Finished defragmenting"));
        assert_eq!(etcdctl.run(&["alarm", "list"]), "");
        etcdctl.fails(&["user", "list"], "authentication is not enabled");
        etcdctl.fails(&["member", "remove", "1"], "one member, which cannot be changed");
        etcdctl.fails(&["member", "add", "other", "--peer-urls", "http://localhost:1"], "one member");
        assert_eq!(etcdctl.run(&["alarm", "disarm"]), "");
    });
}

#[test]
fn a_snapshot_is_saved_and_restores() {
    with_etcdctl(|etcdctl| {
        for n in 0..50 {
            etcdctl.run(&["put", &format!("key/{n}"), &"v".repeat(2000)]);
        }
        etcdctl.run(&["lease", "grant", "600"]);
        let home = tempfile::tempdir().expect("a directory");
        let (file, directory) = (home.path().join("snapshot"), home.path().join("store"));
        let saved = etcdctl.run(&["snapshot", "save", file.to_str().expect("a name")]);
        assert!(saved.contains("Snapshot saved at"), "{saved}");
        let restored = DiskStore::restore(&directory, &file, &mut |_, _| ()).expect("restore");
        assert_eq!((restored.keys, restored.leases, restored.revision), (50, 1, Revision(51)));
    });
}

#[test]
fn locks_and_elections_work() {
    with_etcdctl(|etcdctl| {
        // Leases, transactions on create revisions and watches of single keys, together.
        assert_eq!(etcdctl.run(&["lock", "mine", "echo", "held"]), "held\n");
        assert_eq!(etcdctl.run(&["get", "mine", "--prefix"]), "", "given back");
        let watched = ["elect", "--listen", "who"];
        let act = || {
            let mut leader = etcdctl.command(&["elect", "who", "me"]).spawn().expect("etcdctl starts");
            while etcdctl.run(&["get", "who", "--prefix", "--print-value-only"]).trim() != "me" {}
            leader.kill().expect("it still runs");
            leader.wait().expect("it ends");
        };
        etcdctl.until(&watched, act, &["me"]);
    });
}

#[test]
fn a_watch_follows_another_store() {
    with_etcdctl(|from| {
        from.run(&["put", "m/1", "old"]);
        let from = from.endpoint.clone();
        with_etcdctl(move |to| {
            let source = Etcdctl { endpoint: from };
            let mut mirror = source.command(&["make-mirror", "--prefix", "m/", &to.endpoint]).spawn().expect("starts");
            while to.run(&["get", "m/1", "--print-value-only"]) != "old\n" {}
            source.run(&["put", "m/2", "new"]);
            source.run(&["del", "m/1"]);
            while to.run(&["get", "m/", "--prefix"]) != "m/2\nnew\n" {}
            mirror.kill().expect("it still runs");
            mirror.wait().expect("it ends");
        });
    });
}
