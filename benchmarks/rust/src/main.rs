//! Runs commands of the benchmarks on one version of the crate `rotortree`.
//!
//! `rotortree-comparison VERSION DIRECTORY LEAVES SINGLES` reads one command per line from standard
//! input, `operation scheme n size count`, and answers each with one line of JSON: operations,
//! seconds, processor seconds, page faults, and a check that must be the same on every side.
//! LEAVES and SINGLES are files of 32-byte leaves; durable trees are made in DIRECTORY.

mod measure;

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;

use measure::Outcome;

/// 32 bytes, as in both versions of the crate.
type Leaf = [u8; 32];

/// One command.
pub struct Request {
    operation: String,
    n: usize,
    size: usize,
    count: usize,
}

/// What all commands share.
pub struct Worker {
    directory: PathBuf,
    leaves_file: PathBuf,
    leaves: Vec<Leaf>,
    singles: Vec<Leaf>,
}

/// The i-th leaf of so many to prove, spread over all of them: the same on every side.
fn index(i: usize, size: usize) -> u64 {
    (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) % size as u64
}

mod v015 {
    use rotortree_015 as rotortree;
    pub const SCHEME: &str = "blake3";
    fn verifier() -> rotortree::TreeHasher<rotortree::Blake3Hasher> {
        rotortree::TreeHasher::new(rotortree::Blake3Hasher)
    }
    include!("operations.rs");
}

mod v019 {
    use rotortree_019 as rotortree;
    pub const SCHEME: &str = "blake3-plain";
    fn verifier() -> rotortree::Blake3Hasher {
        rotortree::Blake3Hasher
    }
    include!("operations.rs");
}

type Run = fn(&mut Worker, &Request) -> Result<Outcome, String>;

fn read_leaves(path: &PathBuf, skip: usize, count: usize) -> Result<Vec<Leaf>, String> {
    use std::io::{Seek, SeekFrom};
    let problem = |error: io::Error| format!("{}: {error}", path.display());
    let mut file = File::open(path).map_err(problem)?;
    file.seek(SeekFrom::Start(32 * skip as u64)).map_err(problem)?;
    let mut leaves = vec![[0u8; 32]; count];
    file.read_exact(leaves.as_flattened_mut()).map_err(problem)?;
    Ok(leaves)
}

impl Worker {
    fn new(arguments: &[String]) -> Result<Self, String> {
        let singles_file = PathBuf::from(&arguments[3]);
        let bytes = singles_file.metadata().map_err(|error| error.to_string())?.len();
        Ok(Self {
            directory: PathBuf::from(&arguments[1]),
            leaves_file: PathBuf::from(&arguments[2]),
            leaves: Vec::new(),
            singles: read_leaves(&singles_file, 0, (bytes / 32) as usize)?,
        })
    }

    /// The first `size` leaves, read when they are first asked for.
    fn prepare_leaves(&mut self, size: usize) -> Result<(), String> {
        if self.leaves.len() < size {
            self.leaves = read_leaves(&self.leaves_file, 0, size)?;
        }
        Ok(())
    }
}

fn parse(line: &str, scheme: &str) -> Result<Request, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [operation, wanted, n, size, count] = words[..] else {
        return Err(format!("no command: {line}"));
    };
    if wanted != scheme {
        return Err(format!("this version has the scheme {scheme}, not {wanted}"));
    }
    let number = |text: &str| text.parse().map_err(|_| format!("no number: {text}"));
    Ok(Request {
        operation: operation.to_string(),
        n: number(n)?,
        size: number(size)?,
        count: number(count)?,
    })
}

fn answer(worker: &mut Worker, line: &str, scheme: &str, run: Run) -> Result<Outcome, String> {
    let request = parse(line, scheme)?;
    let attempt = std::panic::AssertUnwindSafe(|| run(worker, &request));
    std::panic::catch_unwind(attempt).unwrap_or_else(|_| Err("the crate panicked".to_string()))
}

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.len() != 4 {
        return Err("usage: rotortree-comparison VERSION DIRECTORY LEAVES SINGLES".to_string());
    }
    let (scheme, run): (&str, Run) = match arguments[0].as_str() {
        "0.15" => (v015::SCHEME, v015::run),
        "0.19" => (v019::SCHEME, v019::run),
        other => return Err(format!("no version {other} here")),
    };
    let mut worker = Worker::new(&arguments)?;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let text = match answer(&mut worker, &line, scheme, run) {
            Ok(outcome) => outcome.json(),
            Err(message) => format!("{{\"error\": {message:?}}}"),
        };
        println!("{text}");
        io::stdout().flush().map_err(|error| error.to_string())?;
    }
    Ok(())
}
