//! Runs the trials that are missing on this machine, some side by side, each a process of its own: one that fails, runs
//! out of memory or is killed takes no other with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::halving::Ladder;
use super::results::{self, State, error_of};
use super::trials::Trial;
use super::{Places, spec::Halving};
use crate::checkpoint::{Which, write_atomically};
use crate::error::{Error, Result};
use crate::memory::SIDE_BY_SIDE;

/// How trials are run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Side by side.
    pub jobs: usize,
    /// `--backend` and `--device` of each.
    pub place: Vec<String>,
    /// Run trials that failed before, too.
    pub retry: bool,
    /// Early stopping of losers, and the metric it looks at.
    pub halving: Option<(Halving, String)>,
}

/// One run of a trial: all of it, or up to a rung of the ladder.
#[derive(Debug, Clone, Copy)]
struct Job {
    trial: usize,
    rung: Option<usize>,
}

/// What is left to do.
struct Queue {
    waiting: std::vec::IntoIter<usize>,
    ladder: Option<Ladder>,
    running: usize,
    done: usize,
    failed: usize,
}

/// Writes the config that a trial starts with.
///
/// # Errors
/// When the disk refuses.
pub fn write_config(places: &Places, trial: &Trial) -> Result<()> {
    let path = places.config(&trial.id);
    if path.is_file() {
        return Ok(());
    }
    let text = toml::to_string_pretty(&trial.config).map_err(|e| Error::Job(format!("config: {e}")))?;
    write_atomically(&path, &[text.as_bytes()])
}

/// Arguments of the process that runs a trial, or goes on with it.
pub fn arguments(places: &Places, id: &str, epochs: Option<usize>, place: &[String]) -> Vec<String> {
    let run = places.run(id);
    let mut out = vec!["--quiet".to_owned(), "--out".into(), run.display().to_string()];
    let goes_on = Which::Last.path(&run).is_file() && run.join("config.toml").is_file();
    match goes_on {
        true => out.push("--resume".into()),
        false => out.extend(["--config".into(), places.config(id).display().to_string(), "--force".into()]),
    }
    if let Some(epochs) = epochs {
        out.extend(["--set".into(), format!("train.epochs={epochs}")]);
    }
    out.extend(place.iter().cloned());
    out
}

/// Runs every trial that is missing; returns how many failed now.
///
/// # Errors
/// When interrupted, or when the disk refuses.
pub fn run(places: &Places, trials: &[Trial], plan: &Plan, interrupted: &AtomicBool) -> Result<usize> {
    let program = std::env::current_exe().map_err(|e| Error::Job(format!("the path of this program: {e}")))?;
    let wanted = |t: &Trial| match results::state(places, &t.id) {
        State::Done => plan.halving.is_some(),
        State::Failed(_) => plan.retry,
        State::Waiting => true,
    };
    let missing: Vec<usize> = (0..trials.len()).filter(|i| wanted(&trials[*i])).collect();
    for &i in &missing {
        if plan.retry {
            // An old error is not this attempt's.
            let _ = std::fs::remove_file(places.error(&trials[i].id));
        }
        write_config(places, &trials[i])?;
    }
    let ladder = plan.halving.as_ref().map(|(halving, metric)| Ladder::new(halving, trials, metric, places));
    let all = missing.len();
    tracing::info!("{} trials, {} of them to run, {} side by side", trials.len(), all, plan.jobs);
    let queue = Mutex::new(Queue { waiting: missing.into_iter(), ladder, running: 0, done: 0, failed: 0 });
    let changed = Condvar::new();
    let threads = (std::thread::available_parallelism().map_or(1, usize::from) / plan.jobs).max(1);
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.min(all.max(1)) {
            scope.spawn(|| {
                while let Some(job) = take(&queue, &changed, interrupted) {
                    let trial = &trials[job.trial];
                    let epochs = job.rung.and_then(|r| lock(&queue).ladder.as_ref().map(|l| l.epochs(r)));
                    let started = Instant::now();
                    let result = one(&program, places, trial, epochs, plan, threads, interrupted);
                    let mut queue = lock(&queue);
                    queue.running -= 1;
                    queue.done += 1;
                    let (done, what) = (queue.done, trial.label());
                    let of = if queue.ladder.is_some() { String::new() } else { format!(" of {all}") };
                    match result {
                        Ok(()) => {
                            if let (Some(rung), Some(ladder)) = (job.rung, &mut queue.ladder) {
                                ladder.ended(job.trial, rung, places, &trial.id);
                            }
                            tracing::info!(
                                "{done}{of}: {what} {}: {:.1} s",
                                trial.data,
                                started.elapsed().as_secs_f64()
                            );
                        }
                        Err(error) if interrupted.load(Ordering::Relaxed) => tracing::debug!("{}: {error}", trial.id),
                        Err(error) => {
                            queue.failed += 1;
                            tracing::warn!("{done}{of}: {what} {}: failed: {error}", trial.data);
                        }
                    }
                    changed.notify_all();
                }
                changed.notify_all();
            });
        }
    });
    if interrupted.load(Ordering::Relaxed) {
        return Err(Error::Interrupted(format!(
            "the sweep is stopped; the same command goes on where it is; results so far: {}",
            places.sweep.display()
        )));
    }
    let failed = lock(&queue).failed;
    Ok(failed)
}

fn lock(queue: &Mutex<Queue>) -> std::sync::MutexGuard<'_, Queue> {
    // What a thread that panicked left is still a list of jobs.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next job; waits where one that runs may set others free; none at the end.
fn take(queue: &Mutex<Queue>, changed: &Condvar, interrupted: &AtomicBool) -> Option<Job> {
    let mut queue = lock(queue);
    loop {
        if interrupted.load(Ordering::Relaxed) {
            return None;
        }
        let next = match &mut queue.ladder {
            Some(ladder) => ladder.climb().map(|(trial, rung)| Job { trial, rung: Some(rung) }),
            None => queue.waiting.next().map(|trial| Job { trial, rung: None }),
        };
        if next.is_some() {
            queue.running += 1;
            return next;
        }
        if queue.ladder.is_none() || queue.running == 0 {
            return None;
        }
        queue = changed.wait_timeout(queue, Duration::from_millis(200)).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn one(
    program: &Path,
    places: &Places,
    trial: &Trial,
    epochs: Option<usize>,
    plan: &Plan,
    threads: usize,
    interrupted: &AtomicBool,
) -> Result<()> {
    let log: PathBuf = places.trials.join(format!("{}.log", trial.id));
    let fail = |e: std::io::Error| Error::write(&log, &e);
    let mut child = Command::new(program)
        .args(arguments(places, &trial.id, epochs, &plan.place))
        .env("RAYON_NUM_THREADS", threads.to_string())
        .env(SIDE_BY_SIDE, plan.jobs.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log).map_err(fail)?)
        .spawn()
        .map_err(|e| Error::Job(format!("{}: {e}", program.display())))?;
    let status = wait(&mut child, interrupted)?;
    if status.success() {
        let _ = std::fs::remove_file(&log);
        return Ok(());
    }
    if interrupted.load(Ordering::Relaxed) || status.code() == Some(130) {
        return Err(Error::Interrupted("stopped".into()));
    }
    let ending = match status.code() {
        Some(code) => format!("it ended with code {code}"),
        None => {
            "it was killed, perhaps because memory ran out; fewer --jobs or a smaller train.batch_size may help".into()
        }
    };
    let error = error_of(&log, &ending);
    write_atomically(&places.error(&trial.id), &[error.as_bytes(), b"\n"])?;
    Err(Error::Job(error))
}

/// Waits for a process; an interrupt is passed on, so that it writes a checkpoint.
fn wait(child: &mut Child, interrupted: &AtomicBool) -> Result<std::process::ExitStatus> {
    let mut told = false;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().map_err(|e| Error::Job(format!("a trial's process: {e}")))? {
            return Ok(status);
        }
        if interrupted.load(Ordering::Relaxed) && !told {
            told = true;
            interrupt(child);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(4));
    }
}

#[cfg(unix)]
fn interrupt(child: &mut Child) {
    // From a terminal the process has heard already, and a second interrupt would not wait for its checkpoint.
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        return;
    }
    let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
}

#[cfg(not(unix))]
fn interrupt(child: &mut Child) {
    let _ = child.kill();
}
