//! Trials as a job array of Slurm: it outlives the process that submitted it, and leaves what it did in the shared folder.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Places;
use super::results::{self, State};
use super::runner::write_config;
use super::spec::Slurm;
use super::trials::Trial;
use crate::checkpoint::write_atomically;
use crate::error::{Error, Result};

/// The array that was submitted last.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Submitted {
    job: String,
    trials: Vec<String>,
}

fn record(places: &Places) -> PathBuf {
    places.sweep.join("slurm.json")
}

/// The batch script that runs the trials `ids`, one for each task of the array.
///
/// # Errors
/// When the path of this program is unknown.
pub fn script(places: &Places, name: &str, ids: &[&str], slurm: &Slurm, place: &[String]) -> Result<String> {
    let program = std::env::current_exe().map_err(|e| Error::Job(format!("the path of this program: {e}")))?;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let at_once = slurm.at_once.map(|n| format!("%{n}")).unwrap_or_default();
    let mut out = format!("#!/bin/bash\n#SBATCH --job-name={name}\n#SBATCH --array=0-{}{at_once}\n", ids.len() - 1);
    let logs = places.trials.join("slurm-%A_%a.out");
    out += &format!("#SBATCH --output={}\n", logs.display());
    for (option, value) in [("partition", &slurm.partition), ("time", &slurm.time), ("mem", &slurm.memory)] {
        if let Some(value) = value {
            out += &format!("#SBATCH --{option}={value}\n");
        }
    }
    if let Some(cpus) = slurm.cpus {
        out += &format!("#SBATCH --cpus-per-task={cpus}\n");
    }
    if let Some(gpus) = slurm.gpus {
        out += &format!("#SBATCH --gres=gpu:{gpus}\n");
    }
    out += "# A trial that was stopped goes on from its checkpoint; its error, if any, stays beside it.\n";
    out += &format!("cd {} || exit 1\n", quoted(&places.trials.display().to_string()));
    out += "export RAYON_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}\ncase $SLURM_ARRAY_TASK_ID in\n";
    for (k, id) in ids.iter().enumerate() {
        out += &format!("{k}) id={id} ;;\n");
    }
    out += "esac\nif [ -f \"$id/checkpoint/last.ckpt\" ]; then how=(--resume); else how=(--config \"$id.toml\" --force); fi\n";
    let place = place.iter().map(|a| quoted(a)).collect::<Vec<_>>().join(" ");
    out += &format!(
        "{} --quiet --out \"$id\" \"${{how[@]}}\" {place} >/dev/null 2>\"$id.log\"\n",
        quoted(&program.display().to_string())
    );
    out += "code=$?\nif [ $code = 0 ]; then rm -f \"$id.log\" \"$id.error\"; elif [ $code != 130 ]; then\n";
    out += "  message=$(sed -n 's/^error: //p' \"$id.log\" | tail -n 1)\n";
    out += "  echo \"${message:-it ended with code $code}\" >\"$id.error\"\nfi\nexit $code\n";
    Ok(out)
}

/// Submits what is missing and waits for it; an array that is in the queue already is waited for.
///
/// # Errors
/// When there is no `sbatch`, it refuses, or the sweep is interrupted, which cancels the array.
pub fn run(
    places: &Places,
    name: &str,
    trials: &[Trial],
    slurm: &Slurm,
    (place, retry): (&[String], bool),
    interrupted: &AtomicBool,
) -> Result<usize> {
    let before = std::fs::read(record(places)).ok().and_then(|b| serde_json::from_slice::<Submitted>(&b).ok());
    let mut job = before.filter(|s| is_queued(&s.job)).map(|s| s.job);
    if let Some(job) = &job {
        tracing::info!("job {job} is in the queue already: waiting for it");
    }
    // A job that was killed leaves a trial neither done nor failed: it is submitted again, as long as that helps.
    let mut tries = 0;
    loop {
        let missing: Vec<&Trial> = trials.iter().filter(|t| is_missing(places, t, retry && tries == 0)).collect();
        if job.is_none() {
            if missing.is_empty() {
                break;
            }
            if tries == 3 {
                let message = format!("{} trials were killed three times", missing.len());
                return Err(Error::Job(format!("{message}; see the logs in {}", places.trials.display())));
            }
            for trial in &missing {
                let _ = std::fs::remove_file(places.error(&trial.id));
                write_config(places, trial)?;
            }
            let ids: Vec<&str> = missing.iter().map(|t| t.id.as_str()).collect();
            let id = submit(places, name, &ids, slurm, place)?;
            tracing::info!("submitted job {id}: {} trials; it goes on when this process ends", ids.len());
            job = Some(id);
            tries += 1;
        }
        let Some(id) = &job else { continue };
        while is_queued(id) {
            if interrupted.load(Ordering::Relaxed) {
                let _ = Command::new("scancel").arg(id).status();
                return Err(Error::Interrupted(format!("job {id} is cancelled; the same command goes on where it is")));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        job = None;
    }
    Ok(trials.iter().filter(|t| matches!(results::state(places, &t.id), State::Failed(_))).count())
}

fn is_missing(places: &Places, trial: &Trial, retry: bool) -> bool {
    match results::state(places, &trial.id) {
        State::Waiting => true,
        State::Failed(_) => retry,
        State::Done => false,
    }
}

fn submit(places: &Places, name: &str, ids: &[&str], slurm: &Slurm, place: &[String]) -> Result<String> {
    let path = places.sweep.join("array.sh");
    write_atomically(&path, &[script(places, name, ids, slurm, place)?.as_bytes()])?;
    let absent = "sbatch: not found; Slurm's commands must be on the PATH (Debian: slurm-wlm), or use --launcher local";
    let output =
        Command::new("sbatch").arg("--parsable").arg(&path).output().map_err(|_| Error::Request(absent.into()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Job(format!("sbatch refused {}: {}", path.display(), said.trim())));
    }
    // With more than one cluster its name follows.
    let said = String::from_utf8_lossy(&output.stdout);
    let job = said.trim().split(';').next().unwrap_or_default().to_owned();
    let submitted = Submitted { job: job.clone(), trials: ids.iter().map(|i| (*i).to_owned()).collect() };
    let bytes = serde_json::to_vec(&submitted).map_err(|e| Error::Job(e.to_string()))?;
    write_atomically(&record(places), &[&bytes])?;
    Ok(job)
}

/// True while the cluster knows of a job that has not ended.
fn is_queued(job: &str) -> bool {
    let output = Command::new("squeue").args(["--noheader", "--jobs", job]).output();
    output.is_ok_and(|o| o.status.success() && !o.stdout.trim_ascii().is_empty())
}

/// Cancels the array of a sweep; returns its number, none where nothing is in the queue.
///
/// # Errors
/// When `scancel` refuses.
pub fn cancel(places: &Places) -> Result<Option<String>> {
    let submitted = std::fs::read(record(places)).ok().and_then(|b| serde_json::from_slice::<Submitted>(&b).ok());
    let Some(Submitted { job, .. }) = submitted.filter(|s| is_queued(&s.job)) else { return Ok(None) };
    match Command::new("scancel").arg(&job).status() {
        Ok(status) if status.success() => Ok(Some(job)),
        _ => Err(Error::Job(format!("scancel {job} failed"))),
    }
}
