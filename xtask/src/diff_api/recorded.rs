//! What upstream answered when it was last asked, as one line each: the request's name, and a digest of the answer with
//! what differs by nature made equal. Invariant: only answers that Corten gave alike are recorded, so a digest that no
//! longer fits is a change of Corten's, without upstream being there. Leaves out what `docs/deviations.yaml` explains.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::compare;
use super::http::Answer;

const HEAD: &str = "# Answers of upstream's kube-apiserver to the corpus: name of the request (with its place among those of the same\n\
                    # name), code, digest. Written by `cargo xtask diff-api --record`, read by `--replay`.\n";
const DIGEST_BYTES: usize = 8;

/// The recorded answers.
#[derive(Debug, Default)]
pub struct Recorded {
    answers: BTreeMap<String, String>,
    seen: BTreeMap<String, usize>,
}

impl Recorded {
    /// Reads the file.
    pub fn load(file: &Path) -> Result<Recorded> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("reading {}; make it with --record", file.display()))?;
        let lines = text.lines().filter(|l| !l.starts_with('#'));
        let answers = lines
            .filter_map(|l| l.split_once('\t'))
            .map(|(name, answer)| (name.to_owned(), answer.to_owned()));
        Ok(Recorded {
            answers: answers.collect(),
            seen: BTreeMap::new(),
        })
    }

    /// The name of a request with its place among those of the same name.
    pub fn place(&mut self, name: &str) -> String {
        let count = self.seen.entry(name.to_owned()).or_default();
        *count += 1;
        format!("{name}#{count}")
    }

    /// Keeps an answer.
    pub fn keep(&mut self, place: String, answer: &Answer) {
        self.answers.insert(place, line(answer));
    }

    /// What differs from the recorded answer; nothing when none was recorded.
    pub fn difference(&self, place: &str, answer: &Answer) -> Option<String> {
        let recorded = self.answers.get(place)?;
        let ours = line(answer);
        (ours != *recorded).then(|| format!("{place}: {ours} | recorded: {recorded}"))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Writes the file.
    pub fn save(&self, file: &Path) -> Result<()> {
        let mut text = HEAD.to_owned();
        for (name, answer) in &self.answers {
            let _ = writeln!(text, "{name}\t{answer}");
        }
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }
}

fn line(answer: &Answer) -> String {
    let digest = Sha256::digest(compare::essence(answer));
    let mut text = format!("{} ", answer.status);
    for byte in digest.iter().take(DIGEST_BYTES) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_fits_what_was_recorded_of_it_in_other_times() {
        let answer = |time: &str, text: &str| Answer {
            status: 200,
            headers: vec![("content-type".into(), "application/json".into())],
            body: format!("{{\"at\":\"{time}\",\"a\":\"{text}\"}}").into_bytes(),
        };
        let mut recorded = Recorded::default();
        let place = recorded.place("file/get");
        assert_eq!(place, "file/get#1");
        recorded.keep(place.clone(), &answer("2026-01-01T00:00:00Z", "x"));
        assert_eq!(
            recorded.difference(&place, &answer("2027-01-01T00:00:00Z", "x")),
            None
        );
        assert!(
            recorded
                .difference(&place, &answer("2027-01-01T00:00:00Z", "y"))
                .is_some()
        );
        assert_eq!(recorded.difference("file/other#1", &answer("", "")), None);
    }
}
