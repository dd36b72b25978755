use super::*;
use crate::framework::ExtensionPoint;

const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

pub(super) fn read(text: &str) -> Result<Configuration, String> {
    Configuration::read(&format!("{HEAD}{text}"), &Registry::default()).map_err(|error| error.to_string())
}

fn at(configuration: &Configuration, point: ExtensionPoint) -> Vec<String> {
    configuration.profiles[0].plugins_at(point).iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_file_means_the_defaults() {
    let configuration = read("").unwrap();
    assert_eq!(configuration.profiles[0].name(), "default-scheduler");
    assert_eq!(configuration.pod_max_backoff, Duration::from_secs(10));
    let default = crate::plugins::default_profile("default-scheduler").build().unwrap();
    for point in ExtensionPoint::ALL {
        let expected: Vec<String> = default.plugins_at(point).iter().map(ToString::to_string).collect();
        assert_eq!(at(&configuration, point), expected, "{point:?}");
    }
}

#[test]
fn plugins_are_enabled_disabled_and_reordered() {
    let configuration = read(
        "
profiles:
- plugins:
    multiPoint:
      disabled: [{name: NodePorts}, {name: ImageLocality}]
    score:
      enabled: [{name: NodeAffinity, weight: 7}]
      disabled: [{name: TaintToleration}]
    filter:
      disabled: [{name: '*'}]
      enabled: [{name: NodeName}, {name: NodeResourcesFit}]
",
    )
    .unwrap();
    assert_eq!(at(&configuration, ExtensionPoint::Filter), ["NodeName", "NodeResourcesFit"]);
    let score = [
        "NodeAffinity",
        "NodeResourcesFit",
        "PodTopologySpread",
        "InterPodAffinity",
        "DynamicResources",
        "NodeResourcesBalancedAllocation",
    ];
    assert_eq!(at(&configuration, ExtensionPoint::Score), score);
    assert!(!at(&configuration, ExtensionPoint::PreFilter).contains(&"NodePorts".to_owned()));
}

#[test]
fn several_profiles_and_their_settings() {
    let configuration = read(
        "
percentageOfNodesToScore: 30
podInitialBackoffSeconds: 2
leaderElection: {leaderElect: false, leaseDuration: 1m}
profiles:
- schedulerName: a
- schedulerName: b
  percentageOfNodesToScore: 70
  pluginConfig:
  - name: DefaultPreemption
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: DefaultPreemptionArgs
      minCandidateNodesPercentage: 20
",
    )
    .unwrap();
    assert_eq!(configuration.profiles.iter().map(|p| p.name().as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(configuration.profiles[1].percentage_of_nodes_to_score, Some(70));
    assert!(!configuration.leader_election.leader_elect);
    let config = configuration.scheduler_config(7);
    assert_eq!((config.percentage_of_nodes_to_score, config.queue.initial_backoff), (30, Duration::from_secs(2)));
}

#[track_caller]
pub(super) fn refused(text: &str, expected: &str) {
    let error = read(text).expect_err("it was taken");
    assert!(error.contains(expected), "{error}\n  lacks {expected}");
}

#[test]
fn faults_are_named_with_their_path() {
    refused("parallelsm: 3", r#"unknown field "parallelsm""#);
    refused("parallelism: 0", "parallelism: Invalid value: 0: should be an integer value greater than zero");
    refused(
        "percentageOfNodesToScore: 101",
        "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
    );
    refused(
        "podMaxBackoffSeconds: 0",
        "podMaxBackoffSeconds: Invalid value: 0: must be greater than or equal to PodInitialBackoffSeconds",
    );
    refused("profiles: [{schedulerName: a}, {schedulerName: a}]", "profiles[1].schedulerName: Duplicate value");
    refused("profiles: [{schedulerName: a}, {}]", "profiles[1].schedulerName: Required value");
    refused(
        "profiles: [{plugins: {score: {enabled: [{name: Nope}]}}}]",
        "profiles[0].plugins.score.enabled[0]: Not found: \"Nope\"",
    );
    refused("profiles: [{plugins: {bind: {enabled: [{name: NodeName}]}}}]", "does not extend Bind plugin");
    refused("profiles: [{plugins: {bind: {disabled: [{name: '*'}]}}}]", "at least one bind plugin is needed");
    let args = |name: &str, args: &str| format!("profiles: [{{pluginConfig: [{{name: {name}, args: {args}}}]}}]");
    refused(
        &args("InterPodAffinity", "{hardPodAffinityWeight: 101}"),
        "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
    );
    refused(
        &args("NodeResourcesFit", "{scoringStrategy: {type: Worst}}"),
        "scoringStrategy.type: Unsupported value: \"Worst\"",
    );
    refused(
        &args("NodeResourcesFit", "{scoringStrategy: {type: RequestedToCapacityRatio}}"),
        "requestedToCapacityRatio: Required value",
    );
    refused(
        &args(
            "PodTopologySpread",
            "{defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]}",
        ),
        "defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty",
    );
    refused(&args("NodeResourcesFit", "{kind: OtherArgs}"), "has to match plugin args");
    refused(
        "extenders: [{urlPrefix: x, prioritizeVerb: p}]",
        "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
    );
    refused(
        "extenders: [{bindVerb: b}, {bindVerb: b}]",
        "extenders: Invalid value: \"found 2 extenders implementing bind\": only one extender can implement bind",
    );
    refused("extenders: [{filterVerbs: f}]", "unknown field \"extenders[0].filterVerbs\"");
    let managed = |names: &str| format!("extenders: [{{managedResources: [{names}]}}]");
    refused(
        &managed("{name: cpu}"),
        "extenders[0].managedResources[0].name: Invalid value: \"cpu\": is an invalid extended resource name",
    );
    refused(&managed("{name: a.b/x}, {name: a.b/x}"), "managedResources[1].name: Invalid value: \"a.b/x\": duplicate");
    refused(&managed("{name: 'a b'}"), "managedResources[0].name: Invalid value: \"a b\": name part must consist of");
    refused("clientConnection: {burst: -1}", "clientConnection.burst: Invalid value: -1: must be non-negative");
    refused("leaderElection: {retryPeriod: 0s}", "leaderElection.retryPeriod: Invalid value: \"0ns\"");
    refused("leaderElection: {renewDeadline: 15s}", "leaderElection.leaseDuration: Invalid value: \"15s\"");
    refused("leaderElection: {resourceName: ''}", "leaderElection.resourceName: Required value");
    refused("leaderElection: {resourceLock: endpoints}", "resourceLock value must be \"leases\"");
    refused(&args("VolumeBinding", "{bindTimeoutSeconds: -1}"), "args.bindTimeoutSeconds: Invalid value: -1");
    refused(&args("VolumeBinding", "{shape: [{utilization: 1, score: 1}]}"), "args.shape: Invalid value");
    refused(&args("DynamicResources", "{bindingTimeout: 10ms}"), "must be at least 1 second");
    refused(
        "profiles: [{plugins: {filter: {enabled: [{name: EBSLimits}]}}}]",
        "profiles[0].plugins.filter.enabled[0]: Invalid value: \"EBSLimits\": was invalid in version",
    );
    assert!(Configuration::read("kind: Pod\napiVersion: v1", &Registry::default()).is_err());
    assert!(Configuration::read("{", &Registry::default()).is_err());
}

#[test]
fn one_plugin_orders_the_queue_for_all_profiles() {
    let sort = |sets: [&str; 2]| {
        let [a, b] = sets;
        format!("profiles: [{{schedulerName: a, plugins: {{{a}}}}}, {{schedulerName: b, plugins: {{{b}}}}}]")
    };
    let same = "queueSort: {enabled: [{name: PrioritySort}], disabled: [{name: '*'}]}";
    assert!(read(&sort([same, same])).is_ok());
    assert!(read(&sort(["", ""])).is_ok());
    refused(&sort([same, ""]), "profiles[1].plugins.queueSort: Invalid value: null: must be the same for all profiles");
    refused(&sort(["", same]), "must be the same for all profiles");
    refused(
        "profiles: [{plugins: {queueSort: {enabled: [{name: PrioritySort}, {name: PrioritySort}]}}}]",
        "profiles[0].plugins.queueSort.enabled: Invalid value: 2: only one queue sort plugin can be enabled",
    );
}

#[test]
fn settings_are_checked_even_if_their_plugin_is_not_enabled() {
    let config = |name: &str, args: &str| {
        let disabled = "plugins: {multiPoint: {disabled: [{name: InterPodAffinity}]}}";
        format!("profiles: [{{{disabled}, pluginConfig: [{{name: {name}, args: {args}}}]}}]")
    };
    refused(&config("InterPodAffinity", "{hardPodAffinityWeight: -1}"), "not in valid range [0, 100]");
    refused(&config("InterPodAffinity", "{hardWeight: 1}"), "unknown field");
    refused(&config("GCEPDLimits", "{}"), "Invalid value: \"GCEPDLimits\": was invalid in version");
    assert!(read(&config("InterPodAffinity", "{hardPodAffinityWeight: 5}")).is_ok());
    assert!(read(&config("Elsewhere", "{anything: 1}")).is_ok(), "a plugin that nobody knows is not looked into");
}

#[test]
fn plugin_sets_are_merged() {
    let scorers = |plugins: &str| {
        let configuration = read(&format!("profiles: [{{plugins: {{{plugins}}}}}]")).unwrap();
        at(&configuration, ExtensionPoint::Score)
    };
    let only = "multiPoint: {disabled: [{name: '*'}], enabled: [{name: PrioritySort}, {name: DefaultBinder}, \
                {name: ImageLocality, weight: 3}, {name: NodeAffinity}]}";
    assert_eq!(scorers(only), ["ImageLocality", "NodeAffinity"], "nothing but what is enabled, in its order");
    assert_eq!(
        scorers(&format!("{only}, score: {{enabled: [{{name: NodeAffinity}}]}}")),
        ["NodeAffinity", "ImageLocality"]
    );
    assert_eq!(
        scorers(&format!("{only}, score: {{enabled: [{{name: TaintToleration}}]}}")),
        ["ImageLocality", "NodeAffinity", "TaintToleration"]
    );
    assert_eq!(scorers(&format!("{only}, score: {{disabled: [{{name: ImageLocality}}]}}")), ["NodeAffinity"]);
    assert_eq!(scorers(&format!("{only}, score: {{disabled: [{{name: '*'}}]}}")), Vec::<String>::new());
    let again = "multiPoint: {enabled: [{name: NodeResourcesFit, weight: 9}]}";
    let usual = scorers("");
    assert_eq!(scorers(again), usual, "a default plugin that is enabled again stays in its place");
}

#[test]
fn extenders_are_read_and_what_they_manage_is_left_to_them() {
    let configuration = read(
        "
profiles: [{schedulerName: a}, {schedulerName: b, pluginConfig: [{name: NodeResourcesFit, args: {}}]}]
extenders:
- urlPrefix: https://extender/x
  filterVerb: filter
  prioritizeVerb: score
  weight: 3
  enableHTTPS: true
  httpTimeout: 100ms
  nodeCacheCapable: true
  ignorable: true
  managedResources: [{name: example.com/gpu, ignoredByScheduler: true}, {name: example.com/nic}]
  tlsConfig: {serverName: extender, caFile: /ca}
",
    )
    .unwrap();
    let [extender] = &configuration.extenders[..] else { panic!("{:?}", configuration.extenders) };
    assert_eq!((extender.timeout, extender.weight), (Duration::from_millis(100), 3));
    assert_eq!(extender.tls.as_ref().map(|tls| tls.ca_file.as_str()), Some("/ca"));
    let told = configuration.scheduler_config(1).extenders.remove(0);
    assert!(told.filters && told.prioritizes && told.ignorable && !told.binds && !told.preempts);
    assert_eq!(told.managed_resources.len(), 2);
    // No node offers the resource, and only the extender minds.
    let config = SchedulerConfig { extenders: Vec::new(), ..configuration.scheduler_config(1) };
    let mut scheduler = crate::schedule::Scheduler::new(config, configuration.profiles).unwrap();
    let now = crate::object::Time::UNIX_EPOCH;
    scheduler.put_node(crate::testing::node("n").build(), now);
    for (profile, resource, fits) in [("a", "gpu", true), ("b", "gpu", true), ("a", "nic", false)] {
        let asks = crate::testing::pod("p").scheduler(profile).requests(&[(&format!("example.com/{resource}"), "1")]);
        let trial = scheduler.what_if().try_pod(&std::sync::Arc::new(asks.build()));
        assert_eq!(matches!(trial, crate::schedule::Trial::Fits(_)), fits, "{resource} in {profile}: {trial:?}");
    }
}

#[test]
fn plugins_can_be_added() {
    let registry = Registry::default().with(
        "Mine",
        std::sync::Arc::new(|args: &Value| match args["ok"].as_bool() {
            Some(true) => Ok(std::sync::Arc::new(crate::plugins::NodeName) as crate::framework::PluginRef),
            _ => Err("ok must be true".to_owned()),
        }),
    );
    let text = format!(
        "{HEAD}profiles: [{{plugins: {{filter: {{enabled: [{{name: Mine}}], disabled: [{{name: '*'}}]}}}}, pluginConfig: [{{name: Mine, args: {{ok: true}}}}]}}]"
    );
    assert!(Configuration::read(&text, &registry).is_ok());
    let error = Configuration::read(&text.replace("true", "false"), &registry).unwrap_err().to_string();
    assert!(error.contains("profiles[0].pluginConfig[0].args") && error.contains("ok must be true"), "{error}");
}
