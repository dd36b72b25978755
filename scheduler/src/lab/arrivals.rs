//! In which order the jobs of a trace arrive, and how many of them.

use super::{Ask, Trace};
use crate::random::Random;

/// The jobs of the trace in a random order, then jobs drawn from it again, until the next one would bring what is asked
/// for above `demand` times the GPUs there are. If the trace alone asks for more, jobs are taken out at random instead.
///
/// This is how the published experiments arrive at 130 %, down to their looking at one GPU of the job that is too many.
#[allow(clippy::cast_precision_loss, reason = "thousandths of GPUs")]
pub(super) fn order(trace: &Trace, demand: f64, random: &mut Random) -> Vec<usize> {
    let enough = trace.gpu_capacity() as f64 * demand;
    let mut order: Vec<usize> = (0..trace.jobs.len()).collect();
    random.shuffle(&mut order);
    let mut asked: i64 = trace.jobs.iter().map(Ask::gpu_total).sum();
    if asked == 0 {
        return order;
    }
    while asked as f64 > enough && !order.is_empty() {
        let gone = order.remove(random.below(order.len()));
        asked -= trace.jobs[gone].gpu_total();
    }
    if (asked as f64) < enough {
        loop {
            let again = random.below(trace.jobs.len());
            let job = &trace.jobs[again];
            if (asked + job.gpu_milli) as f64 > enough {
                break;
            }
            asked += job.gpu_total();
            order.push(again);
        }
    }
    order
}
