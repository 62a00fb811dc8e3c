// The operations, for one version of the crate: `rotortree`, SCHEME and verifier() are its.
// Included once for each version, because the two share no types.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rotortree::{
    Blake3Hasher, CheckpointPolicy, FlushPolicy, LeanIMT, RotorTree, RotorTreeConfig,
    TieringConfig,
};

use crate::measure::{Outcome, Stopwatch, anonymous_bytes, quantile, sync};
use crate::{Leaf, Request, Worker, index, read_leaves};

/// Leaves of one insertion into a durable tree: more than 128 MiB in one make the crate panic.
const DURABLE_BATCH: usize = 2_500_000;

/// Into how many batches trees are cut whose memory is measured.
const MEMORY_BATCHES: usize = 10;

const THREADS: usize = 16;

/// Do what a request asks.  The depths are the least that hold 16.7 million leaves: proofs are
/// arrays of all levels that there could be, so that more would be to the crate's disadvantage.
pub fn run(worker: &mut Worker, request: &Request) -> Result<Outcome, String> {
    match request.n {
        2 => Operations::<2, 24>::run(worker, request),
        4 => Operations::<4, 12>::run(worker, request),
        8 => Operations::<8, 8>::run(worker, request),
        16 => Operations::<16, 6>::run(worker, request),
        n => Err(format!("no arity {n} here")),
    }
}

fn text<T: std::fmt::Debug>(error: T) -> String {
    format!("{error:?}")
}

struct Operations<const N: usize, const MAX_DEPTH: usize>;

type Memory<const N: usize, const MAX_DEPTH: usize> = LeanIMT<Blake3Hasher, N, MAX_DEPTH>;
type Durable<const N: usize, const MAX_DEPTH: usize> = RotorTree<Blake3Hasher, N, MAX_DEPTH>;

impl<const N: usize, const MAX_DEPTH: usize> Operations<N, MAX_DEPTH> {
    fn run(worker: &mut Worker, request: &Request) -> Result<Outcome, String> {
        if !request.operation.starts_with("memory") {
            worker.prepare_leaves(request.size)?;
        }
        match request.operation.as_str() {
            "insert_many" => Self::insert_many(worker, request),
            "insert_thousands" => Self::insert_thousands(worker, request),
            "insert" => Self::insert(worker, request),
            "prove" => Self::prove(worker, request),
            "verify" => Self::verify(worker, request),
            "durable_insert_many" => Self::durable_insert_many(worker, request),
            "durable_insert" => Self::durable_insert(worker, request),
            "insert_durable" => Self::insert_durable(worker, request),
            "insert_durable_threads" => Self::insert_durable_threads(worker, request),
            "open_verified" => Self::open(worker, request, true),
            "open_unverified" => Self::open(worker, request, false),
            "first_proof" => Self::first_proof(worker, request),
            "open_log" => Self::open_log(worker, request),
            "latency" => Self::latency(worker, request, false),
            "latency_checkpoint" => Self::latency(worker, request, true),
            "memory" => Self::memory(worker, request),
            "memory_mapped" => Self::memory_mapped(worker, request),
            other => Err(format!("no operation {other} here")),
        }
    }

    // In memory.

    fn filled(leaves: &[Leaf]) -> Result<Memory<N, MAX_DEPTH>, String> {
        let mut tree = LeanIMT::new(Blake3Hasher);
        tree.insert_many(leaves).map_err(text)?;
        Ok(tree)
    }

    fn insert_many(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        let leaves = &worker.leaves[..request.size];
        let stopwatch = Stopwatch::start();
        let mut tree = Memory::<N, MAX_DEPTH>::new(Blake3Hasher);
        let root = tree.insert_many(leaves).map_err(text)?;
        let passed = stopwatch.stop();
        Ok(Outcome::new(request.size, passed, Some(root)))
    }

    fn insert_thousands(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        let mut tree = Self::filled(&worker.leaves[..request.size])?;
        let leaves = &worker.singles[..request.count];
        let stopwatch = Stopwatch::start();
        for batch in leaves.chunks(1000) {
            black_box(tree.insert_many(batch).map_err(text)?);
        }
        let passed = stopwatch.stop();
        Ok(Outcome::new(request.count, passed, tree.root()))
    }

    fn insert(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        let mut tree = Self::filled(&worker.leaves[..request.size])?;
        let leaves = &worker.singles[..request.count];
        let stopwatch = Stopwatch::start();
        for leaf in leaves {
            black_box(tree.insert(*leaf).map_err(text)?);
        }
        let passed = stopwatch.stop();
        Ok(Outcome::new(request.count, passed, tree.root()))
    }

    fn prove(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        let snapshot = Self::filled(&worker.leaves[..request.size])?.snapshot();
        let stopwatch = Stopwatch::start();
        for i in 0..request.count {
            black_box(snapshot.generate_proof(index(i, request.size)).map_err(text)?);
        }
        let passed = stopwatch.stop();
        Ok(Outcome::new(request.count, passed, snapshot.root()))
    }

    fn verify(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        let snapshot = Self::filled(&worker.leaves[..request.size])?.snapshot();
        let root = snapshot.root().ok_or("no root")?;
        let mut proofs = Vec::with_capacity(request.count);
        for i in 0..request.count {
            proofs.push(snapshot.generate_proof(index(i, request.size)).map_err(text)?);
        }
        let verifier = verifier();
        let mut verified = 0;
        let stopwatch = Stopwatch::start();
        for proof in &proofs {
            verified += usize::from(proof.verify_against(&verifier, root).map_err(text)?);
        }
        let passed = stopwatch.stop();
        if verified != request.count {
            return Err("a proof does not verify".to_string());
        }
        Ok(Outcome::new(request.count, passed, Some(root)))
    }

    // Durable.

    fn opened(path: &Path, verify: bool) -> Result<Durable<N, MAX_DEPTH>, String> {
        let config = RotorTreeConfig {
            path: path.to_path_buf(),
            flush_policy: FlushPolicy::default(),
            checkpoint_policy: CheckpointPolicy::Manual,
            tiering: TieringConfig::default(),
            verify_checkpoint: verify,
        };
        RotorTree::open(Blake3Hasher, config).map_err(text)
    }

    fn fill(tree: &Durable<N, MAX_DEPTH>, leaves: &[Leaf]) -> Result<(), String> {
        for batch in leaves.chunks(DURABLE_BATCH) {
            tree.insert_many(batch).map_err(text)?;
        }
        Ok(())
    }

    /// Run something on a new tree in a directory of its own, which is removed afterwards.
    fn with_new<R>(
        worker: &Worker,
        leaves: &[Leaf],
        work: impl FnOnce(&Durable<N, MAX_DEPTH>) -> Result<R, String>,
    ) -> Result<R, String> {
        let path = worker.directory.join("new");
        let tree = Self::opened(&path, true)?;
        Self::fill(&tree, leaves)?;
        tree.flush().map_err(text)?;
        sync();
        let result = work(&tree);
        tree.close().map_err(text)?;
        std::fs::remove_dir_all(&path).map_err(text)?;
        result
    }

    fn durable_insert_many(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        let leaves = &worker.leaves[..request.size];
        Self::with_new(worker, &[], |tree| {
            let stopwatch = Stopwatch::start();
            Self::fill(tree, leaves)?;
            tree.flush().map_err(text)?;
            let passed = stopwatch.stop();
            Ok(Outcome::new(request.size, passed, tree.root()))
        })
    }

    fn durable_insert(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        Self::with_new(worker, &worker.leaves[..request.size], |tree| {
            let stopwatch = Stopwatch::start();
            for leaf in &worker.singles[..request.count] {
                black_box(tree.insert(*leaf).map_err(text)?);
            }
            let passed = stopwatch.stop();
            Ok(Outcome::new(request.count, passed, tree.root()))
        })
    }

    fn insert_durable(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        Self::with_new(worker, &worker.leaves[..request.size], |tree| {
            let stopwatch = Stopwatch::start();
            for leaf in &worker.singles[..request.count] {
                tree.insert_durable(*leaf).map_err(text)?;
            }
            let passed = stopwatch.stop();
            Ok(Outcome::new(request.count, passed, tree.root()))
        })
    }

    fn insert_durable_threads(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        let leaves = &worker.singles[..request.count];
        Self::with_new(worker, &worker.leaves[..request.size], |tree| {
            let stopwatch = Stopwatch::start();
            std::thread::scope(|scope| {
                let insert_all = || -> Result<(), String> {
                    leaves.iter().try_for_each(|leaf| {
                        tree.insert_durable(*leaf).map(|_| ()).map_err(text)
                    })
                };
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(insert_all)).collect();
                threads.into_iter().try_for_each(|thread| thread.join().map_err(text)?)
            })?;
            let passed = stopwatch.stop();
            Ok(Outcome::new(THREADS * request.count, passed, None))
        })
    }

    // Opening.

    /// A directory that was closed, made when it is first asked for.
    fn prepared(
        worker: &Worker,
        request: &Request,
        checkpoint: bool,
    ) -> Result<std::path::PathBuf, String> {
        let kind = if checkpoint { "checkpoint" } else { "log" };
        let path = worker.directory.join(format!("{kind}-{N}-{}", request.size));
        if !path.exists() {
            let tree = Self::opened(&path, true)?;
            Self::fill(&tree, &worker.leaves[..request.size])?;
            if checkpoint {
                tree.checkpoint().map_err(text)?;
            }
            tree.close().map_err(text)?;
        }
        sync();
        Ok(path)
    }

    fn timed_open(path: &Path, verify: bool) -> Result<Outcome, String> {
        let stopwatch = Stopwatch::start();
        let tree = Self::opened(path, verify)?;
        let passed = stopwatch.stop();
        let outcome = Outcome::new(1, passed, tree.root());
        tree.close().map_err(text)?;
        Ok(outcome)
    }

    fn open(worker: &Worker, request: &Request, verify: bool) -> Result<Outcome, String> {
        Self::timed_open(&Self::prepared(worker, request, true)?, verify)
    }

    fn open_log(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        Self::timed_open(&Self::prepared(worker, request, false)?, true)
    }

    fn first_proof(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        let tree = Self::opened(&Self::prepared(worker, request, true)?, false)?;
        let stopwatch = Stopwatch::start();
        let snapshot = tree.snapshot();
        black_box(snapshot.generate_proof(index(1, request.size)).map_err(text)?);
        let passed = stopwatch.stop();
        let outcome = Outcome::new(1, passed, tree.root());
        tree.close().map_err(text)?;
        Ok(outcome)
    }

    // Latency: of each insertion, in the background of which a checkpoint may run.

    fn latency(worker: &Worker, request: &Request, checkpoint: bool) -> Result<Outcome, String> {
        Self::with_new(worker, &worker.leaves[..request.size], |tree| {
            let done = AtomicBool::new(!checkpoint);
            let stopwatch = Stopwatch::start();
            let mut times = std::thread::scope(|scope| {
                if checkpoint {
                    scope.spawn(|| {
                        let result = tree.checkpoint();
                        done.store(true, Ordering::Release);
                        result
                    });
                }
                Self::insert_timed(tree, &worker.singles, request.count, &done)
            })?;
            let passed = stopwatch.stop();
            let mut outcome = Outcome::new(times.len(), passed, None);
            times.sort_unstable();
            outcome.figures = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)]
                .map(|(name, part)| (name, quantile(&times, part)))
                .to_vec();
            outcome.figures.push(("max", quantile(&times, 1.0)));
            Ok(outcome)
        })
    }

    /// Insert until the other work is done: `count` leaves, or as many as come before that.
    fn insert_timed(
        tree: &Durable<N, MAX_DEPTH>,
        singles: &[Leaf],
        count: usize,
        done: &AtomicBool,
    ) -> Result<Vec<u64>, String> {
        let alone = done.load(Ordering::Acquire);
        let mut times = Vec::with_capacity(count);
        for leaf in singles.iter().cycle() {
            let started = Instant::now();
            black_box(tree.insert(*leaf).map_err(text)?);
            times.push(started.elapsed().as_nanos() as u64);
            if if alone { times.len() >= count } else { done.load(Ordering::Acquire) } {
                break;
            }
        }
        Ok(times)
    }

    // Memory, in a process that did nothing before.

    fn memory(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        let mut tree = Memory::<N, MAX_DEPTH>::new(Blake3Hasher);
        let batch = request.size / MEMORY_BATCHES;
        let before = anonymous_bytes()?;
        let stopwatch = Stopwatch::start();
        for at in 0..MEMORY_BATCHES {
            let leaves = read_leaves(&worker.leaves_file, at * batch, batch)?;
            tree.insert_many(&leaves).map_err(text)?;
        }
        let passed = stopwatch.stop();
        let grown = anonymous_bytes()?.saturating_sub(before);
        let leaves = batch * MEMORY_BATCHES;
        let mut outcome = Outcome::new(leaves, passed, tree.root());
        outcome.figures = vec![("bytes per leaf", grown as f64 / leaves as f64)];
        Ok(outcome)
    }

    fn memory_mapped(worker: &Worker, request: &Request) -> Result<Outcome, String> {
        let path = worker.directory.join("mapped");
        let tree = Self::opened(&path, true)?;
        let batch = request.size / MEMORY_BATCHES;
        let mut first = 0;
        let stopwatch = Stopwatch::start();
        for at in 0..MEMORY_BATCHES {
            {
                let leaves = read_leaves(&worker.leaves_file, at * batch, batch)?;
                Self::fill(&tree, &leaves)?;
            }
            tree.checkpoint().map_err(text)?;
            if at == 0 {
                first = anonymous_bytes()?;
            }
        }
        let passed = stopwatch.stop();
        let grown = anonymous_bytes()?.saturating_sub(first);
        let mut outcome = Outcome::new(batch * MEMORY_BATCHES, passed, tree.root());
        let later = batch * (MEMORY_BATCHES - 1);
        outcome.figures = vec![("bytes per leaf", grown as f64 / later as f64)];
        tree.close().map_err(text)?;
        std::fs::remove_dir_all(&path).map_err(text)?;
        Ok(outcome)
    }
}
