//! Jobs from the first pod to the last count.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::job::{self, tracked};
use crate::objects::{Job, ObjectKey, Pod, kinds};
use crate::ttlafterfinished;
use crate::world::World;

fn world(change: Value) -> World {
    let mut world = World::new(&[job::make, ttlafterfinished::make]);
    let mut object = json!({
        "metadata": {"name": "work", "namespace": "default"},
        "spec": {
            "parallelism": 2, "completions": 4, "backoffLimit": 2, "completionMode": "NonIndexed",
            "selector": {"matchLabels": {"job": "work"}},
            "template": {"metadata": {"labels": {"job": "work"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}},
        },
    });
    crate::plan::apply_merge_patch(&mut object, &change);
    world.add(kinds::JOB, object);
    world.settle();
    world
}

fn job(world: &World) -> Job {
    world.list::<Job>().remove(0)
}

fn active(world: &World) -> Vec<Pod> {
    world.list::<Pod>().into_iter().filter(Pod::active).collect()
}

fn end(world: &mut World, pod: &Pod, phase: &str, code: i32) {
    let terminated = json!({"exitCode": code, "finishedAt": world.now});
    let statuses = json!([{"name": "c", "state": {"terminated": terminated}}]);
    world.change(
        kinds::POD,
        "default",
        &pod.metadata.name,
        json!({"status": {"phase": phase, "containerStatuses": statuses}}),
    );
}

fn end_all(world: &mut World, phase: &str) {
    for pod in active(world) {
        end(world, &pod, phase, i32::from(phase == "Failed"));
    }
    world.settle();
}

fn conditions(world: &World) -> Vec<String> {
    job(world).status.conditions.iter().map(|held| format!("{}={}/{}", held.kind, held.status, held.reason)).collect()
}

#[test]
fn a_job_runs_its_pods_in_parallel_and_completes() {
    let mut world = world(json!({}));
    assert_eq!(active(&world).len(), 2);
    assert!(world.list::<Pod>().iter().all(tracked));
    end_all(&mut world, "Succeeded");
    assert_eq!((job(&world).status.succeeded, active(&world).len()), (2, 2));
    end_all(&mut world, "Succeeded");
    assert_eq!(conditions(&world), ["SuccessCriteriaMet=True/CompletionsReached", "Complete=True/CompletionsReached"]);
    let status = job(&world).status;
    assert_eq!((status.succeeded, status.active, status.completion_time.is_some()), (4, 0, true));
    assert!(!world.list::<Pod>().iter().any(tracked), "finished pods are free to go");
    assert!(world.events.contains(&"Completed Job completed".to_owned()));
    world.assert_settled();
}

#[test]
fn failures_wait_ever_longer_and_end_the_job_at_the_limit() {
    let mut world = world(json!({"spec": {"parallelism": 1, "completions": 1}}));
    for (wait, failed) in [(10, 1), (20, 2)] {
        end_all(&mut world, "Failed");
        assert_eq!((job(&world).status.failed, active(&world).len()), (failed, 0));
        world.advance(wait - 1);
        assert!(active(&world).is_empty());
        world.advance(1);
        assert_eq!(active(&world).len(), 1);
    }
    end_all(&mut world, "Failed");
    assert_eq!(conditions(&world), ["FailureTarget=True/BackoffLimitExceeded", "Failed=True/BackoffLimitExceeded"]);
    assert!(world.events.contains(&"BackoffLimitExceeded Job has reached the specified backoff limit".to_owned()));
    world.advance(1000);
    assert!(active(&world).is_empty());
    world.assert_settled();
}

#[test]
fn a_failed_job_ends_its_other_pods_before_it_says_so() {
    let mut world = world(json!({"spec": {"backoffLimit": 0}}));
    world.run_kubelets();
    let pods = active(&world);
    end(&mut world, &pods[0], "Failed", 1);
    world.settle();
    assert_eq!(conditions(&world), ["FailureTarget=True/BackoffLimitExceeded"]);
    world.live();
    assert_eq!(conditions(&world).len(), 2);
    assert!(active(&world).is_empty());
    world.assert_settled();
}

#[test]
fn a_deadline_ends_the_job() {
    let mut world = world(json!({"spec": {"activeDeadlineSeconds": 30}}));
    world.advance(29);
    assert_eq!(active(&world).len(), 2);
    world.advance(2);
    world.live();
    assert_eq!(conditions(&world), ["FailureTarget=True/DeadlineExceeded", "Failed=True/DeadlineExceeded"]);
}

#[test]
fn indexed_jobs_run_each_index_until_it_succeeds() {
    let mut world = world(json!({"spec": {"completionMode": "Indexed", "parallelism": 3, "completions": 3}}));
    let pod = world.all(kinds::POD).remove(1);
    assert_eq!(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], json!("1"));
    assert_eq!(
        (&pod["spec"]["hostname"], &pod["spec"]["containers"][0]["env"][0]["name"]),
        (&json!("work-1"), &json!("JOB_COMPLETION_INDEX"))
    );
    let pods = active(&world);
    end(&mut world, &pods[0], "Succeeded", 0);
    end(&mut world, &pods[2], "Succeeded", 0);
    end(&mut world, &pods[1], "Failed", 1);
    world.settle();
    assert_eq!(job(&world).status.completed_indexes, "0,2");
    world.advance(10);
    assert_eq!(active(&world)[0].metadata.annotations.get("batch.kubernetes.io/job-completion-index"), Some("1"));
    end_all(&mut world, "Succeeded");
    assert_eq!((job(&world).status.completed_indexes.as_str(), job(&world).status.succeeded), ("0-2", 3));
    assert!(conditions(&world).contains(&"Complete=True/CompletionsReached".to_owned()));
    world.assert_settled();
}

#[test]
fn an_index_may_fail_by_itself() {
    let mut world = world(
        json!({"spec": {"completionMode": "Indexed", "completions": 2, "backoffLimit": 100, "backoffLimitPerIndex": 0}}),
    );
    let pods = active(&world);
    end(&mut world, &pods[0], "Failed", 1);
    end(&mut world, &pods[1], "Succeeded", 0);
    world.settle();
    world.advance(60);
    assert_eq!(job(&world).status.failed_indexes.as_deref(), Some("0"));
    assert_eq!(conditions(&world), ["FailureTarget=True/FailedIndexes", "Failed=True/FailedIndexes"]);
}

#[test]
fn a_failure_policy_ignores_or_ends() {
    let rules = json!([
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]);
    let mut world = world(json!({"spec": {"parallelism": 1, "podFailurePolicy": {"rules": rules}}}));
    let pod = active(&world).remove(0);
    let disrupted = json!([{"type": "DisruptionTarget", "status": "True"}]);
    world.change(
        kinds::POD,
        "default",
        &pod.metadata.name,
        json!({"status": {"phase": "Failed", "conditions": disrupted}}),
    );
    world.settle();
    assert_eq!((job(&world).status.failed, conditions(&world).len()), (0, 0));
    world.advance(20);
    let pod = active(&world).remove(0);
    end(&mut world, &pod, "Failed", 42);
    world.settle();
    let failed = job(&world).status.conditions.last().unwrap().clone();
    assert_eq!(failed.reason, "PodFailurePolicy");
    let expected = format!(
        "Container c for pod default/{} failed with exit code 42 matching FailJob rule at index 1",
        pod.metadata.name
    );
    assert_eq!(failed.message, expected);
}

#[test]
fn a_suspended_job_has_no_pods_until_resumed() {
    let mut world = world(json!({"spec": {"suspend": true}}));
    assert_eq!((active(&world).len(), conditions(&world)), (0, vec!["Suspended=True/JobSuspended".to_owned()]));
    world.change(kinds::JOB, "default", "work", json!({"spec": {"suspend": false}}));
    world.live();
    assert_eq!((active(&world).len(), conditions(&world)), (2, vec!["Suspended=False/JobResumed".to_owned()]));
    world.change(kinds::JOB, "default", "work", json!({"spec": {"suspend": true}}));
    world.live();
    assert_eq!((active(&world).len(), job(&world).status.start_time), (0, None));
    world.assert_settled();
}

#[test]
fn a_finished_job_goes_when_its_time_is_over() {
    let mut world = world(json!({"spec": {"completions": 1, "ttlSecondsAfterFinished": 60}}));
    end_all(&mut world, "Succeeded");
    world.advance(59);
    assert_eq!(world.list::<Job>().len(), 1);
    world.advance(1);
    assert!(world.list::<Job>().is_empty());
}

#[test]
fn pods_of_a_job_that_is_gone_are_let_go() {
    let mut world = world(json!({}));
    world.erase(kinds::JOB, &ObjectKey::new("default", "work"));
    world.settle();
    assert!(!world.list::<Pod>().iter().any(tracked));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever pods do: never more at once than allowed, each end counted once, and it comes to an end.
    #[test]
    fn every_end_is_counted_once(
        parallelism in 1..4_i32, completions in 1..6_i32, indexed: bool, fates in proptest::collection::vec(0..4_u8, 0..40),
    ) {
        let mode = if indexed { "Indexed" } else { "NonIndexed" };
        let mut world = world(json!({"spec": {"parallelism": parallelism, "completions": completions, "completionMode": mode, "backoffLimit": 3}}));
        for fate in fates {
            prop_assert!(i32::try_from(active(&world).len()).unwrap() <= parallelism.min(completions));
            match (fate, active(&world).first().cloned()) {
                (0, Some(pod)) => end(&mut world, &pod, "Succeeded", 0),
                (1, Some(pod)) => end(&mut world, &pod, "Failed", 1),
                (2, _) => world.run_kubelets(),
                _ => world.advance(700),
            }
            world.settle();
        }
        for _ in 0..12 {
            world.advance(700);
            end_all(&mut world, "Succeeded");
        }
        world.live();
        let pods = world.list::<Pod>();
        let ended = |phase: &str| i32::try_from(pods.iter().filter(|pod| pod.status.phase == phase).count()).unwrap();
        let status = job(&world).status;
        prop_assert_eq!((status.succeeded, status.failed), (ended("Succeeded"), ended("Failed")));
        prop_assert!(job::finish::is_finished(&job(&world)));
        world.assert_settled();
    }
}
