# Why a pod fits nowhere is counted over all nodes, in upstream's words.
pod early cpu=1
schedule
  early: no nodes available to schedule pods
node small cpu=1 memory=1Gi
node tainted cpu=8 memory=8Gi taint=dedicated:NoSchedule
node closed cpu=8 memory=8Gi cordoned
node full cpu=8 memory=8Gi pods=1
pod filler on=full
schedule
  nothing
pod big cpu=2 memory=2Gi
schedule
  big: 0/4 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Too many pods, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/4 nodes are available: 1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling.
pod picky cpu=1 selects=disk:ssd
schedule
  picky: 0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling.
# Tolerating the taint, or the taint going, makes it fit.
pod patient cpu=2 tolerates=dedicated
schedule
  patient -> tainted
node tainted cpu=8 memory=8Gi
schedule
  big -> tainted
  picky: 0/4 nodes are available: 1 node(s) were unschedulable, 3 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling.
queue
  active 0, back-off 1, unschedulable 1
