# Pods of lower priority make room; the least important ones, and no more than needed.
node a cpu=4 memory=8Gi
node b cpu=4 memory=8Gi
pod low-1 cpu=2 priority=1 on=a
pod low-2 cpu=2 priority=2 on=a
pod mid cpu=4 priority=50 on=b
pod high cpu=2 priority=100
schedule
  high: 0/2 nodes are available: 2 Insufficient cpu.
  high preempts low-1 on a
# Until the victim is gone nobody takes its place.
pod sneaky cpu=2 priority=10
schedule
  sneaky: 0/2 nodes are available: 2 Insufficient cpu.
  sneaky preempts low-2, low-1 on a
finish preemptions
  low-1 is gone
  low-2 is gone
  low-1 is gone
schedule
  high -> a
  sneaky -> a
# A pod that never preempts waits, and so does one with nobody below it.
pod modest cpu=4 priority=200 never-preempts
pod humble cpu=4 priority=0
schedule
  modest: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.
  humble: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.
delete pod mid
at 20
schedule
  modest -> b
  humble: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.
