//! `train sweep`: many trainings from one file.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::backend::{self, Backend};
use crate::cli::{Launcher, SweepArgs, SweepCommand};
use crate::commands::table::{say, table};
use crate::commands::train::{INTERRUPTED, watch_for_interrupts};
use crate::error::{Error, Result};
use crate::report;
use crate::sweep::leaderboard::Leaderboard;
use crate::sweep::results::{self, State};
use crate::sweep::runner::{self, Plan};
use crate::sweep::spec::{Random, Spec};
use crate::sweep::tpe::Guide;
use crate::sweep::trials::{self, Maker, Trial};
use crate::sweep::{Places, slurm};

/// Runs, shows or cancels a sweep.
pub fn run(args: &SweepArgs) -> Result<()> {
    match (&args.command, &args.file) {
        (Some(SweepCommand::Status { file, watch, out }), _) => status(file, out, *watch),
        (Some(SweepCommand::Cancel { file, out }), _) => match slurm::cancel(&places(out, file)?)? {
            Some(job) => say(&format!("cancelled job {job}\n")),
            None => say("nothing of this sweep is in the queue\n"),
        },
        (None, Some(file)) => sweep(args, file),
        (None, None) => Err(Error::Request("train sweep needs a sweep file; see train sweep --help".into())),
    }
}

fn places(out: &Path, file: &Path) -> Result<Places> {
    let out = std::path::absolute(out).map_err(|e| Error::Request(format!("{}: {e}", out.display())))?;
    Ok(Places::new(&out, file))
}

fn sweep(args: &SweepArgs, file: &Path) -> Result<()> {
    let spec = Spec::read(file)?;
    let places = places(&args.out, file)?;
    let maker = Maker::new(&spec, file, &places)?;
    let mut place = vec!["--backend".to_owned(), args.place.backend.to_string()];
    if let Some(device) = args.place.device {
        place.extend(["--device".into(), device.to_string()]);
    }
    let name = file.file_stem().map_or_else(|| "sweep".into(), |s| s.to_string_lossy().into_owned());
    if let Some(random) = &spec.tpe {
        return guided(args, &spec, random, &maker, &places, place);
    }
    let trials = trials::all(&spec, &maker)?;
    if args.dry_run {
        return dry_run(args, &spec, &trials, &places, (&name, &place));
    }
    if spec.halving.is_some() && trials.iter().any(|t| !t.config.data.has_validation()) {
        return Err(Error::Request("halving looks at validation data; set data.validation in the base config".into()));
    }
    watch_for_interrupts()?;
    let interrupted: &AtomicBool = &INTERRUPTED;
    let ended = match args.launcher {
        Launcher::Slurm if spec.halving.is_some() => {
            return Err(Error::Request(
                "halving needs --launcher local: a job array does not wait for its best".into(),
            ));
        }
        Launcher::Slurm => slurm::run(&places, &name, &trials, &spec.slurm, (&place, args.retry), interrupted),
        Launcher::Local => {
            let jobs = local(args, &mut place)?;
            let halving = spec.halving.clone().map(|h| (h, spec.metric.clone()));
            runner::run(&places, &trials, &Plan { jobs, place, retry: args.retry, halving }, interrupted)
        }
    };
    end(&spec, &trials, &places, ended)
}

/// Backend and number of trials side by side on this machine.
fn local(args: &SweepArgs, place: &mut [String]) -> Result<usize> {
    let chosen = backend::choose(args.place.backend, args.place.device)?;
    place[1] = chosen.backend.to_string();
    let on_cpu = matches!(chosen.backend, Backend::Flex | Backend::NdArray);
    if args.jobs > 1 && !on_cpu {
        tracing::info!("{}: trials queue for the one adapter", chosen.backend);
        return Ok(1);
    }
    Ok(args.jobs.max(1))
}

/// A sweep whose settings are chosen by what came of earlier ones: as many proposals at a time as run side by side.
///
/// The same file, seed and jobs propose the same again: what has ended is not run twice.
fn guided(
    args: &SweepArgs,
    spec: &Spec,
    random: &Random,
    maker: &Maker,
    places: &Places,
    mut place: Vec<String>,
) -> Result<()> {
    if args.dry_run || args.launcher == Launcher::Slurm {
        return Err(Error::Request("tpe chooses as it goes: no --dry-run, and --launcher local alone".into()));
    }
    let mut guide = Guide::new(random)?;
    watch_for_interrupts()?;
    let jobs = local(args, &mut place)?;
    let plan = Plan { jobs, place, retry: args.retry, halving: None };
    let up = metrics::direction(&spec.metric) != Ok(metrics::Direction::Down);
    let (mut all, mut failed) = (Vec::new(), 0);
    let mut proposed = 0;
    while proposed < guide.budget() {
        let count = jobs.min(guide.budget() - proposed);
        let proposals = (0..count).map(|_| guide.ask()).collect::<Result<Vec<_>>>()?;
        proposed += count;
        let trials = proposals.iter().map(|p| maker.with(&p.settings)).collect::<Result<Vec<_>>>()?;
        let together: Vec<Trial> = trials.iter().flatten().cloned().collect();
        if together.iter().any(|t| !t.config.data.has_validation()) {
            let message =
                "tpe looks at validation data, never at the test split; set data.validation in the base config";
            return Err(Error::Request(message.into()));
        }
        match runner::run(places, &together, &plan, &INTERRUPTED) {
            Ok(n) => failed += n,
            Err(error) => {
                all.extend(together);
                return end(spec, &all, places, Err(error));
            }
        }
        for (proposal, own) in proposals.iter().zip(&trials) {
            let ended = results::finished(places, own);
            let values: Vec<f64> =
                ended.iter().filter_map(|f| f.metrics.split.get("validation")?.get(&spec.metric)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let value = (values.len() == own.len()).then_some(if up { -mean } else { mean });
            guide.tell(proposal, value)?;
        }
        all.extend(together);
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all.dedup_by(|a, b| a.id == b.id);
    end(spec, &all, places, Ok(failed))
}

/// Whatever happened, what is finished is in the table; then how it ended.
fn end(spec: &Spec, trials: &[Trial], places: &Places, ended: Result<usize>) -> Result<()> {
    let text = conclude(spec, trials, places)?;
    let failed = ended?;
    say(&text)?;
    match failed {
        0 => Ok(()),
        n => Err(Error::Job(format!(
            "{n} trials failed; their errors: {}; --retry runs them again",
            places.trials.join("*.error").display()
        ))),
    }
}

fn dry_run(
    args: &SweepArgs,
    spec: &Spec,
    trials: &[Trial],
    places: &Places,
    (name, place): (&str, &[String]),
) -> Result<()> {
    let rows: Vec<Vec<String>> = trials
        .iter()
        .map(|t| {
            let fold = t.fold.map(|f| f.to_string()).unwrap_or_default();
            let state = match results::state(places, &t.id) {
                State::Done => "done",
                State::Failed(_) => "failed",
                State::Waiting => "to run",
            };
            vec![t.id.clone(), t.data.clone(), t.seed.to_string(), fold, t.label(), state.into()]
        })
        .collect();
    let mut text = table(&["trial", "data", "seed", "fold", "settings", "state"], &rows);
    text += &format!("{} trials\n", trials.len());
    if args.launcher == Launcher::Slurm {
        let ids: Vec<&str> = trials.iter().map(|t| t.id.as_str()).collect();
        text += &slurm::script(places, name, &ids, &spec.slurm, place)?;
    }
    say(&text)
}

/// Writes the results and the report; returns what to say.
fn conclude(spec: &Spec, trials: &[Trial], places: &Places) -> Result<String> {
    let finished = results::finished(places, trials);
    if finished.is_empty() {
        return Ok("no trial has ended\n".into());
    }
    let path = results::write(places, &finished)?;
    let mut text = String::new();
    if let Some(board) = Leaderboard::new(&finished, &spec.metric) {
        text += &board_table(&board);
        for line in board.words() {
            text += &format!("{line}\n");
        }
    }
    text += &format!("results: {}\n", path.display());
    let page = report::sweep::write(places, &finished, spec, trials.len())?;
    text += &format!("report: {}\n", page.display());
    Ok(text)
}

fn board_table(board: &Leaderboard) -> String {
    let mut head = vec![board.metric.clone()];
    head.extend(board.data.iter().map(|d| if d.is_empty() { "mean ± sd".to_owned() } else { d.clone() }));
    head.extend(["rank".to_owned(), "best".to_owned()]);
    let rows: Vec<Vec<String>> = board
        .entries
        .iter()
        .map(|e| {
            let cell = |c: &Option<(f64, f64, usize)>| {
                c.map_or_else(|| "–".into(), |(m, d, n)| format!("{m:.4} ± {d:.4} ({n})"))
            };
            let mut row = vec![e.label.clone()];
            row.extend(e.cells.iter().map(cell));
            row.push(e.rank.map_or_else(|| "–".into(), |r| format!("{r:.2}")));
            row.push(if e.among_best { "*".into() } else { String::new() });
            row
        })
        .collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    table(&head, &rows) + "* the best, or not distinguishable from it\n"
}

fn status(file: &Path, out: &Path, watch: bool) -> Result<()> {
    let spec = Spec::read(file)?;
    let places = places(out, file)?;
    if spec.tpe.is_some() {
        return Err(Error::Request("tpe chooses as it goes: its trials are in results.csv when it has ended".into()));
    }
    let trials = trials::all(&spec, &Maker::new(&spec, file, &places)?)?;
    loop {
        let states: Vec<State> = trials.iter().map(|t| results::state(&places, &t.id)).collect();
        let count = |f: fn(&State) -> bool| states.iter().filter(|s| f(s)).count();
        let (done, failed) = (count(|s| *s == State::Done), count(|s| matches!(s, State::Failed(_))));
        let begun =
            trials.iter().zip(&states).filter(|(t, s)| **s == State::Waiting && places.run(&t.id).exists()).count();
        let waiting = trials.len() - done - failed - begun;
        let row = [trials.len(), done, begun, waiting, failed].map(|n| n.to_string()).to_vec();
        let mut text = table(&["trials", "done", "begun", "waiting", "failed"], &[row]);
        let finished = results::finished(&places, &trials);
        if let Some(board) = Leaderboard::new(&finished, &spec.metric) {
            text += &board_table(&board);
        }
        for (trial, state) in trials.iter().zip(&states) {
            if let State::Failed(error) = state {
                text += &format!("failed: {} ({}): {error}\n", trial.label(), trial.id);
            }
        }
        if watch {
            // From the top of an empty screen.
            text.insert_str(0, "\x1b[2J\x1b[H");
        }
        say(&text)?;
        if !watch || done + failed == trials.len() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}
