# Far from each other, near to each other, and evenly spread.
node a cpu=8 memory=8Gi zone=east
node b cpu=8 memory=8Gi zone=east
node c cpu=8 memory=8Gi zone=west
pod db-1 app=db far=db@kubernetes.io/hostname
pod db-2 app=db far=db@kubernetes.io/hostname
pod db-3 app=db far=db@kubernetes.io/hostname
schedule
  db-1 -> b
  db-2 -> c
  db-3 -> a
pod db-4 app=db far=db@kubernetes.io/hostname
schedule
  db-4: 0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.
pod web-1 app=web on=c
pod cache app=cache near=web@topology.kubernetes.io/zone
schedule
  cache -> c
pod lonely near=nobody@topology.kubernetes.io/zone
schedule
  lonely: 0/3 nodes are available: 3 node(s) didn't match pod affinity rules. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.
pod w-1 app=w spread=w@topology.kubernetes.io/zone on=a
pod w-2 app=w spread=w@topology.kubernetes.io/zone
schedule
  w-2 -> c
delete node c
pod w-3 app=w spread=w@topology.kubernetes.io/zone
schedule
  w-3 -> b
pod port-1 port=TCP/0.0.0.0/80 on=a
pod port-2 port=TCP/0.0.0.0/80
pod port-3 port=TCP/127.0.0.1/80
schedule
  port-2 -> b
  port-3: 0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.
