//! The training loop: batch → forward → loss → backward → optimizer step → observe; and what happens around it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::tensor::Device;
use losses::Loss;
use metrics::{Decision, Direction, direction};
use model::Weights;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::batches;
use crate::checkpoint::{self, LossSums, Progress, Snapshot, Which};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::evaluation::{Judge, score_with_loss};
use crate::feeder::{Feeder, HostBatch};
use crate::learner::Learner;
use crate::optimizer::{Optimizer, Rates, Schedule};
use crate::predictor::Predictor;
use crate::progress::{Display, EpochBar};
use crate::run_folder::{Event, RunFolder};
use crate::sampler::{Sampler, Seen, Wants};
use crate::signals::RunSignals;
use crate::splits::Splits;
use crate::step::{Batch, Context, Reading, StepLosses, Stepper};

/// Everything a run needs to go on.
pub struct Trainer<'a> {
    config: &'a Config,
    splits: &'a Splits,
    folder: &'a RunFolder,
    interrupted: &'a AtomicBool,
    /// With autodiff.
    device: Device,
    dense: bool,
    stepper: Stepper,
    loss: Box<dyn Loss>,
    signals: RunSignals,
    sampler: Box<dyn Sampler>,
    /// How often each instance was trained on.
    seen: Vec<u32>,
    optimizer: Optimizer,
    schedule: Schedule,
    judge: Judge,
    progress: Progress,
    /// Best epoch's weights, where validation data chose one.
    best: Option<Weights>,
    last_checkpoint: Instant,
}

/// What a finished run leaves.
pub struct Outcome {
    /// The weights of the best epoch, or the last one's without validation data.
    pub weights: Weights,
    /// The epoch they are from.
    pub epoch: usize,
    /// Seconds spent training.
    pub seconds: f64,
    /// Instances trained on.
    pub instances: u64,
    /// How often each training instance was trained on.
    pub seen: Vec<u32>,
}

/// What a sampler wants to know of a batch, still on the device.
struct Notice {
    instances: Vec<usize>,
    /// `[batch]`, summed over labels.
    losses: Option<Reading>,
    /// `[batch, labels]`.
    probabilities: Option<Reading>,
}

/// One step's losses, still on the device.
struct Pending {
    step: usize,
    learning_rate: f64,
    instances: usize,
    loss: Reading,
    parts: Vec<(&'static str, Reading)>,
}

/// Tells a sampler what training on a batch showed.
fn tell(sampler: &mut dyn Sampler, notice: &Notice, labels: usize) {
    let numbers = |reading: &Option<Reading>| reading.as_ref().map(|r| r.numbers().into_owned()).unwrap_or_default();
    let labels = labels.max(1) as f32;
    let losses: Vec<f32> = numbers(&notice.losses).into_iter().map(|loss| loss / labels).collect();
    let probabilities = numbers(&notice.probabilities);
    sampler.observe(&notice.instances, Seen { losses: &losses, probabilities: &probabilities });
}

impl<'a> Trainer<'a> {
    /// A run at its start, and its model.
    ///
    /// The model travels by value through the loop: its tensors have one owner and are updated in place.
    ///
    /// # Errors
    /// For settings that do not fit the data.
    pub fn new(
        config: &'a Config,
        splits: &'a Splits,
        folder: &'a RunFolder,
        device: &Device,
        interrupted: &'a AtomicBool,
    ) -> Result<(Self, Learner)> {
        let device = device.clone().autodiff();
        let plain = device.clone().without_autodiff();
        config.train.precision.check(&plain)?;
        let learner = Learner::new(config, splits, &device)?;
        let loss = config.loss.config.init(&splits.counts, &plain)?;
        let signals = RunSignals::new(config, splits, &plain)?;
        let batch_size = config.train.batch_size;
        let steps = splits.train.len().div_ceil(batch_size);
        let generator = |stream: u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
            rng.set_stream(stream);
            rng
        };
        let trainer = Self {
            dense: batches::is_dense(config.model.input(), &splits.train.features, &device),
            stepper: Stepper::new(&config.train, &learner, &*loss, splits.schema().labels, &device),
            loss,
            signals,
            sampler: config.sampler.init(&splits.train, batch_size, config.train.epochs, &plain)?,
            seen: vec![0; splits.train.len()],
            optimizer: Optimizer::new(config.optimizer.clone(), config.train.kernels),
            schedule: Schedule::new(
                config.schedule.clone(),
                config.optimizer.learning_rate(),
                steps,
                config.train.epochs,
            ),
            // Thresholds chosen on validation data would flatter it: epochs are compared at one half.
            judge: Judge::new(
                config.thresholds.without_validation().unwrap_or(Decision::Thresholds(vec![0.5])),
                &config.report,
                &splits.counts,
            ),
            progress: Progress {
                epoch: 0,
                step_in_epoch: 0,
                step: 0,
                sampler_rng: generator(1),
                dropout_rng: generator(2),
                labels_rng: generator(4),
                sums: LossSums::default(),
                best: None,
                seconds: 0.0,
                instances: 0,
            },
            best: None,
            last_checkpoint: Instant::now(),
            config,
            splits,
            folder,
            interrupted,
            device,
        };
        Ok((trainer, learner))
    }

    /// Whether the model can be evaluated without true labels.
    pub fn predicts(&self) -> bool {
        self.signals.predict()
    }

    /// Whether features reach the model as a matrix.
    pub fn is_dense(&self) -> bool {
        self.dense
    }

    /// Continues from a checkpoint of the run folder.
    ///
    /// # Errors
    /// When the checkpoint cannot be read or does not fit.
    pub fn resume(&mut self, learner: Learner, which: Which) -> Result<Learner> {
        let state = checkpoint::load(self.folder.path(), which)?;
        if let Some((epoch, _)) = state.progress.best {
            self.best = Some(match which {
                Which::Best => state.weights.clone(),
                Which::Last if epoch == state.progress.epoch && state.progress.step_in_epoch == 0 => {
                    state.weights.clone()
                }
                Which::Last => checkpoint::load(self.folder.path(), Which::Best)?.weights,
            });
        }
        let misfit = |e| Error::Request(format!("{}: {e}", which.path(self.folder.path()).display()));
        let learner = learner.with(&state.weights).map_err(misfit)?;
        if let Some((rows, width)) = state.embedding {
            self.signals.see(&rows, width)?;
        }
        self.optimizer.restore(state.optimizer);
        self.sampler.restore(state.sampler);
        self.seen = state.seen;
        self.progress = state.progress;
        self.folder.rewind_events(self.progress.epoch)?;
        tracing::info!("continuing after epoch {}, step {}", self.progress.epoch, self.progress.step);
        Ok(learner)
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// When interrupted (a checkpoint is written), when the loss is not finite, or when the disk refuses.
    pub fn run(mut self, mut learner: Learner, display: Display) -> Result<Outcome> {
        let epochs = self.config.train.epochs;
        let bar = display.epochs(epochs, self.splits.train.len().div_ceil(self.config.train.batch_size));
        if self.signals.embedding().is_none() {
            self.look_at_training_rows(&learner)?;
        }
        while self.progress.epoch < epochs && !self.is_patience_over() {
            let started = Instant::now();
            // On a thread of the pool: one that is not has to wake another for every parallel loop, and to wait for it.
            let (trained, counted, learning_rate) = rayon::scope(|_| self.epoch(learner, &bar))?;
            let settling = Instant::now();
            learner = self.optimizer.settle(trained);
            learner.settle_statistics();
            self.progress.seconds += settling.elapsed().as_secs_f64();
            let event = self.end_epoch(&learner, counted, learning_rate, started)?;
            bar.epoch_done(&event, epochs);
        }
        bar.finish();
        let last = self.save(&learner, Which::Last)?;
        let epoch = self.progress.best.map_or(self.progress.epoch, |b| b.0);
        let weights = self.best.take().unwrap_or(last);
        let Progress { seconds, instances, .. } = self.progress;
        Ok(Outcome { weights, epoch, seconds, instances, seen: self.seen })
    }

    /// The rest of the current epoch. Returns instances trained on here and the last learning rate.
    fn epoch(&mut self, learner: Learner, bar: &EpochBar) -> Result<(Learner, usize, f64)> {
        if self.progress.step_in_epoch == 0 {
            let started = Instant::now();
            self.sampler.start(self.progress.epoch, &mut self.progress.sampler_rng);
            self.progress.seconds += started.elapsed().as_secs_f64();
        }
        // Resumed after an epoch's last step there is no other step to tell its rate.
        let mut learning_rate = self.schedule.rate(self.progress.step.saturating_sub(1));
        let (mut pending, mut notices) = (Vec::new(), VecDeque::new());
        let before = self.progress.instances;
        // A sampler that hears of every batch before it draws the next cannot draw ahead.
        let ahead = !self.sampler.wants().soon;
        let splits = self.splits;
        let (learner, interrupted) = std::thread::scope(|scope| -> Result<(Learner, bool)> {
            let mut feeder = Feeder::start(scope, &splits.train, self.dense, ahead);
            let (mut learner, mut interrupted) = (learner, false);
            loop {
                let started = Instant::now();
                // What was drawn is trained on, also when the run is to stop: the sampler's state is behind it.
                while !interrupted
                    && feeder.wants_more()
                    && let Some(instances) = self.sampler.next(&mut self.progress.sampler_rng)
                {
                    feeder.push(instances);
                }
                let Some(batch) = feeder.next() else { return Ok((learner, interrupted)) };
                learning_rate = self.schedule.rate(self.progress.step);
                learner = self.update(learner, batch, learning_rate, (&mut feeder, &mut pending, &mut notices))?;
                if pending.len() >= self.look_every() {
                    self.look(&mut pending)?;
                    bar.step(self.progress.step, &self.progress.sums);
                }
                self.tell(&mut notices, self.may_wait());
                self.progress.seconds += started.elapsed().as_secs_f64();
                interrupted |= self.interrupted.load(Ordering::Relaxed);
            }
        })?;
        self.look(&mut pending)?;
        self.tell(&mut notices, 0);
        if interrupted {
            return Err(self.stop(&learner)?);
        }
        Ok((learner, (self.progress.instances - before) as usize, learning_rate))
    }

    /// After how many steps their losses are read back.
    fn look_every(&self) -> usize {
        if host::is_host(&self.device) { 1 } else { self.config.train.log_every }
    }

    /// How many batches may go on before the sampler is told of the first of them.
    fn may_wait(&self) -> usize {
        match (host::is_host(&self.device), self.sampler.wants().soon) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => usize::MAX,
        }
    }

    /// Tells the sampler what training showed of its batches, all but the last `left`.
    fn tell(&mut self, notices: &mut VecDeque<Notice>, left: usize) {
        let labels = self.splits.train.labels.columns();
        while notices.len() > left
            && let Some(notice) = notices.pop_front()
        {
            tell(&mut *self.sampler, &notice, labels);
        }
    }

    /// One update: forward, loss, backward, optimizer; what it leaves to be looked at goes to the ends of the queues.
    ///
    /// On the CPU a sampler that wants to hear at once does, and draws the next batch, while the update goes on.
    fn update(
        &mut self,
        learner: Learner,
        batch: HostBatch,
        learning_rate: f64,
        (feeder, pending, notices): (&mut Feeder, &mut Vec<Pending>, &mut VecDeque<Notice>),
    ) -> Result<Learner> {
        let HostBatch { instances, features, labels } = batch;
        let (wants, rates) = (self.sampler.wants(), self.rates(learning_rate));
        let context = Context {
            splits: self.splits,
            loss: &*self.loss,
            reduction: self.config.loss.reduction,
            signals: &self.signals,
            wants,
            device: &self.device,
        };
        let features = features.on(&self.device);
        let learner = self.optimizer.prepare(learner, &features);
        let sample = self.config.loss.negatives.draw(&labels, &mut self.progress.labels_rng);
        let batch = Batch { instances: &instances, features: &features, labels: &labels, sample: sample.as_ref() };
        let (losses, tail) = self.stepper.forward(context, &learner, &batch, &mut self.progress.dropout_rng)?;
        let StepLosses { loss, parts, per_instance, probabilities } = losses;

        let progress = &mut self.progress;
        pending.push(Pending { step: progress.step, learning_rate, instances: instances.len(), loss, parts });
        progress.step += 1;
        progress.step_in_epoch += 1;
        progress.instances += instances.len() as u64;
        instances.iter().for_each(|&i| self.seen[i] += 1);

        let (stepper, optimizer, device) = (&mut self.stepper, &mut self.optimizer, &self.device);
        let finish = || {
            let mut gradients = stepper.backward(&learner, &features, tail);
            let learner = optimizer.step(rates, learner, &mut gradients);
            stepper.recycle(gradients);
            learner
        };
        if wants == Wants::default() {
            return Ok(finish());
        }
        let notice = Notice { instances, losses: per_instance, probabilities };
        if !wants.soon || !host::is_host(device) {
            notices.push_back(notice);
            return Ok(finish());
        }
        let (sampler, data, dense) = (&mut *self.sampler, &self.splits.train, self.dense);
        let goes_on = !self.interrupted.load(Ordering::Relaxed);
        let (learner, next) = rayon::join(finish, || {
            tell(sampler, &notice, data.labels.columns());
            let drawn = goes_on.then(|| sampler.next(&mut progress.sampler_rng)).flatten();
            drawn.map(|instances| HostBatch::of(data, instances, dense))
        });
        next.into_iter().for_each(|batch| feeder.put(batch));
        Ok(learner)
    }

    /// The learning rates of a step: the thresholds' own follows the schedule too.
    fn rates(&self, learning_rate: f64) -> Rates {
        let own = self.config.loss.config.thresholds().and_then(|t| t.learning_rate);
        let factor = own.map_or(1.0, |rate| rate / self.config.optimizer.learning_rate());
        Rates { model: learning_rate, thresholds: learning_rate * factor }
    }

    /// Renews the bank of the training rows' last hidden layer, where neighbours are found by it.
    fn look_at_training_rows(&mut self, learner: &Learner) -> Result<()> {
        if !self.signals.want_embedding(self.splits.validation.is_some()) {
            return Ok(());
        }
        let predictor = Predictor::new(learner.valid(), None, self.dense, &self.device);
        let (rows, width) = predictor.embed(&self.splits.train.features)?;
        self.signals.see(&rows, width)
    }

    /// Reads the losses of the last steps back and adds them to the epoch's sums.
    fn look(&mut self, pending: &mut Vec<Pending>) -> Result<()> {
        for p in pending.drain(..) {
            let loss = f64::from(p.loss.numbers()[0]);
            if !loss.is_finite() {
                return Err(self.not_finite(loss, p.step, p.learning_rate));
            }
            let sums = &mut self.progress.sums;
            let weight = p.instances as f64;
            sums.instances += p.instances as u64;
            sums.loss += loss * weight;
            for (name, part) in p.parts {
                let value = f64::from(part.numbers()[0]);
                *sums.parts.entry(name.to_owned()).or_default() += value * weight;
            }
        }
        Ok(())
    }

    fn not_finite(&self, loss: f64, step: usize, learning_rate: f64) -> Error {
        let last = Which::Last.path(self.folder.path());
        let checkpoint = match last.exists() {
            true => format!("the last good checkpoint is {}", last.display()),
            false => "no checkpoint was written yet".to_owned(),
        };
        let advice = "a smaller optimizer.learning_rate or optimizer.clip_norm may help";
        Error::Job(format!(
            "the loss is {loss} at step {} (learning rate {learning_rate}); {checkpoint}; {advice}",
            step + 1
        ))
    }

    /// Saves the state in the middle of an epoch; returns what the command ends with.
    fn stop(&mut self, learner: &Learner) -> Result<Error> {
        self.save(learner, Which::Last)?;
        let path = self.folder.path().display();
        Ok(Error::Interrupted(format!(
            "interrupted after step {}; continue with: --out {path} --resume",
            self.progress.step
        )))
    }

    /// Validation, the event, the checkpoints.
    fn end_epoch(&mut self, learner: &Learner, counted: usize, learning_rate: f64, started: Instant) -> Result<Event> {
        self.progress.epoch += 1;
        self.progress.step_in_epoch = 0;
        let sums = std::mem::take(&mut self.progress.sums);
        let n = sums.instances.max(1) as f64;
        let seconds = started.elapsed().as_secs_f64();
        let mut event = Event {
            epoch: self.progress.epoch,
            step: self.progress.step,
            seconds: self.progress.seconds,
            instances_per_second: counted as f64 / seconds.max(1e-9),
            learning_rate,
            loss: sums.loss / n,
            loss_parts: sums.parts.into_iter().map(|(name, sum)| (name, sum / n)).collect::<BTreeMap<_, _>>(),
            validation: None,
        };
        self.look_at_training_rows(learner)?;
        let improved = self.validate(learner, &mut event)?;
        self.folder.append_event(&event)?;
        if improved {
            self.best = Some(self.save(learner, Which::Best)?);
        }
        let due = self.last_checkpoint.elapsed().as_secs_f64() >= self.config.train.checkpoint_seconds;
        if due && self.progress.epoch < self.config.train.epochs {
            self.save(learner, Which::Last)?;
        }
        Ok(event)
    }

    /// Metrics of the validation split into the event; true where the monitored one is the best so far.
    fn validate(&mut self, learner: &Learner, event: &mut Event) -> Result<bool> {
        let Some(validation) = self.splits.validation.as_ref().filter(|_| self.predicts()) else { return Ok(false) };
        let predictor = Predictor::new(learner.valid(), self.signals.of_prediction(), self.dense, &self.device);
        let reduction = self.config.loss.reduction;
        let (scores, loss) = score_with_loss(&predictor, validation, &*self.loss, reduction)?;
        let mut table = self.judge.metrics(&scores, &validation.labels)?;
        table.push("loss", loss);
        let monitor = self.config.train.monitored();
        let value = table.get(monitor).ok_or_else(|| {
            let message = format!("train.monitor = `{monitor}` is not computed for this data");
            Error::Request(format!("{message}; choose one of the at-k metrics, an F measure, or loss"))
        })?;
        event.validation = Some(table.iter().map(|(name, v)| (name.to_owned(), v.into())).collect());
        let up = direction(monitor) == Ok(Direction::Up);
        let better = self.progress.best.is_none_or(|(_, best)| if up { value > best } else { value < best });
        if better && value.is_finite() {
            self.progress.best = Some((self.progress.epoch, value));
            return Ok(true);
        }
        Ok(false)
    }

    fn is_patience_over(&self) -> bool {
        let Some(stopping) = &self.config.train.early_stopping else { return false };
        self.progress.best.is_some_and(|(epoch, _)| self.progress.epoch - epoch >= stopping.patience.max(1))
    }

    /// Writes a checkpoint; returns the weights it holds.
    fn save(&mut self, learner: &Learner, which: Which) -> Result<Weights> {
        // Between epochs the bank follows from the weights; inside one it is the one of its start.
        let bank = self.signals.embedding().filter(|_| self.progress.step_in_epoch > 0);
        let weights = learner.weights();
        let state = Snapshot {
            weights: &weights,
            optimizer: &self.optimizer,
            sampler: self.sampler.state(),
            seen: &self.seen,
            embedding: bank,
            progress: &self.progress,
        };
        checkpoint::save(self.folder.path(), which, &state)?;
        if which == Which::Last {
            self.last_checkpoint = Instant::now();
        }
        Ok(weights)
    }
}
