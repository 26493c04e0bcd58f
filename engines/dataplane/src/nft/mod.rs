//! The packet filter: keeps one nftables table equal to a `Ruleset`.
//! Invariant: each change is one transaction that takes place whole or not at all, computed against what was applied
//! last and bound to the kernel's generation; if somebody else touched the table it is replaced as a whole.

mod batch;
mod rule;
mod wire;

use corten_netplan::ruleset::{Ruleset, Statement};

use crate::netlink::{self, Protocol, Socket, attribute, read_be32};
use crate::{Error, Netns, Result};
use batch::{Batch, Note, Sealed};

/// The generation was another one than the transaction was bound to.
const ERESTART: i32 = 85;
const ATTEMPTS_MAX: u32 = 16;

/// The owner of one nftables table, in the network namespace in which it was opened.
#[derive(Debug)]
pub struct PacketFilter {
    socket: Socket,
    applied: Option<Applied>,
}

/// What a change cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// Messages of the transaction; 0 if nothing had to change.
    pub messages: u32,
    /// Bytes of the transaction.
    pub bytes: usize,
    /// Whether the table was replaced as a whole.
    pub replaced: bool,
}

#[derive(Debug)]
struct Applied {
    ruleset: Ruleset,
    generation: u32,
    handle: u64,
}

/// What tells whether a table is the one that was made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TableState {
    handle: u64,
    /// Chains and sets in it; some kernels count anonymous sets too.
    objects: u32,
}

impl PacketFilter {
    /// Opens the packet filter of the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        Ok(PacketFilter {
            socket: Socket::open(Protocol::Netfilter)?,
            applied: None,
        })
    }

    /// Opens the packet filter of another network namespace.
    pub fn open_in(netns: &Netns) -> Result<Self> {
        Ok(PacketFilter {
            socket: Socket::open_in(netns, Protocol::Netfilter)?,
            applied: None,
        })
    }

    /// Makes the table equal to `desired` in one transaction. What was applied last is the base; the first time, when
    /// somebody else changed the table, or if the kernel refuses the difference, the whole table is replaced.
    pub fn apply(&mut self, desired: &Ruleset) -> Result<Change> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(applied) = self.applied.take() else {
                break;
            };
            if applied.ruleset.family != desired.family || applied.ruleset.table != desired.table {
                self.remove(&applied.ruleset)?;
                break;
            }
            let mut batch = Batch::begin(self.socket.messages(), desired, Some(applied.generation));
            if batch.change_from(&applied.ruleset).is_none() {
                break;
            }
            if batch.is_empty() {
                self.applied = Some(applied);
                return Ok(Change::default());
            }
            let sealed = batch.seal();
            let change = cost(&sealed, false);
            match self.run(sealed) {
                Ok(()) => {
                    let generation = applied.generation.wrapping_add(1).max(1);
                    self.applied = Some(Applied {
                        ruleset: desired.clone(),
                        generation,
                        ..applied
                    });
                    return Ok(change);
                }
                Err(error) if error.errno() == Some(ERESTART) => {
                    self.applied = self.confirm(applied)?
                }
                Err(_) => break,
            }
        }
        self.replace(desired)
    }

    /// Removes the table of a ruleset, whether it exists or not.
    pub fn remove(&mut self, ruleset: &Ruleset) -> Result<()> {
        self.applied = None;
        let mut batch = Batch::begin(self.socket.messages(), ruleset, None);
        batch.remove_table();
        self.run(batch.seal())
    }

    /// Forgets what was applied, so that the next `apply` replaces the table.
    pub fn forget(&mut self) {
        self.applied = None;
    }

    fn replace(&mut self, desired: &Ruleset) -> Result<Change> {
        self.applied = None;
        let mut batch = Batch::begin(self.socket.messages(), desired, None);
        batch.replace_table();
        let sealed = batch.seal();
        let change = cost(&sealed, true);
        self.run(sealed)?;
        let generation = self.generation()?;
        if let Some(table) = self.table_state(desired)? {
            self.applied = Some(Applied {
                ruleset: desired.clone(),
                generation,
                handle: table.handle,
            });
        }
        Ok(change)
    }

    /// After somebody changed some table: what was applied, bound to the new generation, if ours is as we left it.
    fn confirm(&mut self, applied: Applied) -> Result<Option<Applied>> {
        let generation = self.generation()?;
        let table = self.table_state(&applied.ruleset)?;
        let ours = table.is_some_and(|table| {
            table.handle == applied.handle && objects(&applied.ruleset).contains(&table.objects)
        });
        Ok(ours.then_some(Applied {
            generation,
            ..applied
        }))
    }

    fn run(&mut self, sealed: Sealed) -> Result<()> {
        let Sealed {
            messages,
            begin,
            last,
            notes,
        } = sealed;
        self.socket.send(&messages)?;
        let mut refused: Option<(u32, i32)> = None;
        loop {
            for message in self.socket.receive()? {
                let Some(outcome) = netlink::outcome(&message) else {
                    continue;
                };
                let offset = outcome.number.wrapping_sub(begin);
                if offset > last.wrapping_sub(begin) {
                    continue;
                }
                if outcome.errno != 0 && refused.is_none() {
                    refused = Some((outcome.number, outcome.errno));
                }
                if outcome.number == begin || outcome.number == last {
                    let Some((number, errno)) = refused else {
                        return Ok(());
                    };
                    return Err(Error::kernel(describe(&notes, number), errno));
                }
            }
        }
    }

    fn generation(&mut self) -> Result<u32> {
        let attempt = || "tell the packet filter's generation".to_owned();
        let answer = self
            .socket
            .get(attempt, wire::GET_GENERATION, &[0; 4], |_| {})?;
        answer
            .and_then(|m| attribute(m.body.get(4..)?, wire::GENERATION_ID).and_then(read_be32))
            .ok_or(Error::Malformed {
                attempt: "get the packet filter's generation",
            })
    }

    fn table_state(&mut self, ruleset: &Ruleset) -> Result<Option<TableState>> {
        let fixed = [wire::family(ruleset.family), 0, 0, 0];
        let attempt = || format!("show table {}", ruleset.table);
        let answer = self.socket.get(attempt, wire::GET_TABLE, &fixed, |a| {
            a.text(wire::TABLE_NAME, &ruleset.table);
        })?;
        let Some(message) = answer else {
            return Ok(None);
        };
        let body = message.body.get(4..).unwrap_or_default();
        let handle = attribute(body, wire::TABLE_HANDLE)
            .and_then(|v| v.try_into().ok().map(u64::from_be_bytes));
        let objects = attribute(body, wire::TABLE_USE).and_then(read_be32);
        match (handle, objects) {
            (Some(handle), Some(objects)) => Ok(Some(TableState { handle, objects })),
            _ => Err(Error::Malformed {
                attempt: "show a table",
            }),
        }
    }
}

fn cost(sealed: &Sealed, replaced: bool) -> Change {
    Change {
        messages: sealed.messages.count(),
        bytes: sealed.messages.len(),
        replaced,
    }
}

/// How many objects a kernel may count: without and with anonymous sets.
fn objects(ruleset: &Ruleset) -> [u32; 2] {
    let anonymous = ruleset
        .chains
        .values()
        .flat_map(|chain| chain.rules.iter().flatten())
        .filter(|s| matches!(s, Statement::DnatRandom(_) | Statement::GotoRandom(_)))
        .count();
    let named = ruleset.chains.len() + ruleset.sets.len();
    [named as u32, (named + anonymous) as u32]
}

fn describe(notes: &[(u32, Note)], number: u32) -> String {
    let note = notes
        .iter()
        .find(|(n, _)| *n == number)
        .map(|(_, note)| note);
    match note {
        Some(Note::Table) => "replace the table".into(),
        Some(Note::Chain(name)) => format!("write chain {name}"),
        Some(Note::Set(name)) => format!("add set {name}"),
        Some(Note::Elements(name)) => format!("add elements to {name}"),
        Some(Note::RemoveChain(name)) => format!("remove chain {name}"),
        Some(Note::RemoveSet(name)) => format!("remove set {name}"),
        Some(Note::RemoveElements(name)) => format!("remove elements from {name}"),
        None => "commit the packet filter's transaction".into(),
    }
}
