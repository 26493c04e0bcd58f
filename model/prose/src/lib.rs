//! What the types and fields of the API mean, in upstream's words: taken at build time out of the schemas of a published
//! crate and kept compressed. Invariant: nothing stays in memory but the compressed bytes; who needs the texts opens
//! them, uses them and drops them. Leaves out lists of kinds, which all mean the same.

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;

static COMPRESSED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/prose.z"));

/// The texts, decompressed.
#[derive(Debug, Default)]
pub struct Prose {
    all: String,
    /// Where each distinct text is.
    texts: Vec<Range<usize>>,
    /// What each says something of, in order of name and field.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: Range<usize>,
    field: Range<usize>,
    text: usize,
}

impl Prose {
    /// Decompresses all texts, about a megabyte.
    pub fn open() -> Prose {
        let mut all = String::new();
        let mut reader = flate2::read::ZlibDecoder::new(COMPRESSED);
        match reader.read_to_string(&mut all) {
            Ok(_) => Prose::parse(all).unwrap_or_default(),
            Err(_) => Prose::default(),
        }
    }

    fn parse(all: String) -> Option<Prose> {
        let mut lines = all.lines().scan(0, |at, line| {
            let start = *at;
            *at += line.len() + 1;
            Some((start, line))
        });
        let count = lines.next()?.1.parse().ok()?;
        let range = |(start, text): (usize, &str)| start..start + text.len();
        let texts = lines.by_ref().take(count).map(range).collect();
        let mut entries = Vec::new();
        for (start, line) in lines {
            let (name, rest) = line.split_once('\t')?;
            let (field, number) = rest.split_once('\t')?;
            entries.push(Entry {
                name: range((start, name)),
                field: range((start + name.len() + 1, field)),
                text: number.parse().ok()?,
            });
        }
        Some(Prose {
            all,
            texts,
            entries,
        })
    }

    /// What a definition (`io.k8s.api.core.v1.Pod`) is.
    pub fn of(&self, definition: &str) -> Option<Cow<'_, str>> {
        self.of_field(definition, "")
    }

    /// What one of its fields is.
    pub fn of_field(&self, definition: &str, field: &str) -> Option<Cow<'_, str>> {
        let found = self.entries.binary_search_by(|entry| {
            let key = (
                &self.all[entry.name.clone()],
                &self.all[entry.field.clone()],
            );
            key.cmp(&(definition, field))
        });
        let text = self.texts.get(self.entries.get(found.ok()?)?.text)?;
        Some(unescaped(&self.all[text.clone()]))
    }

    /// How many types and fields there are texts for.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        match (c, c == '\\') {
            (_, true) => match letters.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            (c, _) => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_pod_is_described() {
        let prose = Prose::open();
        let pod = "io.k8s.api.core.v1.Pod";
        assert!(
            prose
                .of(pod)
                .is_some_and(|t| t.starts_with("Pod is a collection of containers"))
        );
        let restart = prose.of_field("io.k8s.api.core.v1.PodSpec", "restartPolicy");
        assert!(restart.is_some_and(|t| t.contains("Always")));
        assert_eq!(prose.of_field(pod, "nonesuch"), None);
        assert!(prose.len() > 3_000, "{} texts", prose.len());
    }

    #[test]
    fn the_texts_are_small_while_nobody_reads_them() {
        assert!(COMPRESSED.len() < 200 << 10, "{} bytes", COMPRESSED.len());
    }

    #[test]
    fn line_ends_and_backslashes_come_back() {
        assert_eq!(unescaped(r"a\nb\\c"), "a\nb\\c");
        let kept = "1\na\\nb\nx.Y\t\t0\nx.Y\tz\t0\n".to_owned();
        let prose = Prose::parse(kept).unwrap();
        assert_eq!(prose.of("x.Y").as_deref(), Some("a\nb"));
        assert_eq!(prose.of_field("x.Y", "z"), prose.of("x.Y"));
    }
}
