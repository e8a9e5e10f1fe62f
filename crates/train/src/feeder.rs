//! Prepares batches on another thread while the device works: a bounded queue between the sampler and the training
//! step.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;

use data::{Dataset, LabelRows};

use crate::batches::Prepared;

/// Batches under way at most, where the sampler need not hear of one before it draws the next.
const AHEAD: usize = 2;

/// A batch on the host, ready for the device.
pub struct HostBatch {
    /// Positions in the training split.
    pub instances: Vec<usize>,
    /// Their features.
    pub features: Prepared,
    /// Their labels.
    pub labels: LabelRows,
}

impl HostBatch {
    /// Of these instances of `data`. `dense`: features as a matrix.
    pub fn of(data: &Dataset, instances: Vec<usize>, dense: bool) -> Self {
        let features = Prepared::of(&data.features, &instances, dense);
        let labels = data.labels.select(&instances);
        Self { instances, features, labels }
    }
}

/// Turns drawn instances into batches, in order.
pub struct Feeder<'a> {
    data: &'a Dataset,
    dense: bool,
    /// Batches made at once; without a thread.
    ready: VecDeque<HostBatch>,
    thread: Option<(Sender<Vec<usize>>, Receiver<HostBatch>)>,
    waiting: usize,
}

impl<'a> Feeder<'a> {
    /// With a thread of its own, if batches may be drawn ahead of the training.
    pub fn start<'s>(scope: &'s Scope<'s, '_>, data: &'a Dataset, dense: bool, ahead: bool) -> Self
    where
        'a: 's,
    {
        let thread = ahead.then(|| {
            let (ask, asked) = channel::<Vec<usize>>();
            let (give, given) = channel();
            scope.spawn(move || {
                // Ends when the feeder is dropped.
                while let Ok(instances) = asked.recv() {
                    if give.send(HostBatch::of(data, instances, dense)).is_err() {
                        break;
                    }
                }
            });
            (ask, given)
        });
        Self { data, dense, ready: VecDeque::new(), thread, waiting: 0 }
    }

    /// True while another batch should be drawn.
    pub fn wants_more(&self) -> bool {
        self.waiting < if self.thread.is_some() { AHEAD } else { 1 }
    }

    /// Takes the next batch, where there is no thread.
    pub fn put(&mut self, batch: HostBatch) {
        self.waiting += 1;
        self.ready.push_back(batch);
    }

    /// Takes the instances of the next batch.
    pub fn push(&mut self, instances: Vec<usize>) {
        self.waiting += 1;
        match &self.thread {
            // The thread listens as long as this feeder lives.
            Some((ask, _)) => drop(ask.send(instances)),
            None => self.ready.push_back(HostBatch::of(self.data, instances, self.dense)),
        }
    }
}

/// The next batch; none where nothing was drawn.
impl Iterator for Feeder<'_> {
    type Item = HostBatch;

    fn next(&mut self) -> Option<HostBatch> {
        self.waiting = self.waiting.checked_sub(1)?;
        match &self.thread {
            Some((_, given)) => given.recv().ok(),
            None => self.ready.pop_front(),
        }
    }
}
