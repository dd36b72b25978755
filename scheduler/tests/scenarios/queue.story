# Higher priority first, then who came first; gated pods wait; what fails waits for news.
node n cpu=2 memory=4Gi
pod second cpu=500m
at 1
pod third cpu=500m
pod first cpu=500m priority=5
pod gated cpu=500m gate=quota
queue
  active 3, back-off 0, unschedulable 1
schedule
  first -> n
  second -> n
  third -> n
queue
  active 0, back-off 0, unschedulable 1
pod gated cpu=500m
schedule
  gated -> n
pod late cpu=1
schedule
  late: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.
queue
  active 0, back-off 0, unschedulable 1
# News that doesn't concern it leaves it where it is.
pod other app=x on=n
schedule
  nothing
at 5
delete pod second
schedule
  late: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.
delete pod third
schedule
  late -> n
# After five minutes it would have been tried again anyway.
pod stuck cpu=64
schedule
  stuck: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.
at 200
schedule
  nothing
at 400
schedule
  stuck: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.
