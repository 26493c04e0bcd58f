//! One transaction: the difference between two versions of a table, or the whole table, as messages in an order that
//! the kernel accepts (what is referred to exists before, and goes after, what refers to it).

use std::sync::Arc;

use corten_netplan::ruleset::{
    Chain, ChainKind, Datum, Element, ElementKey, Hook, Name, Rule, Ruleset, Set, Type, ValueType,
};
use imbl::ordmap::DiffItem;

use super::rule::{self, Choices};
use super::wire;
use crate::netlink::{APPEND, Attributes, CREATE, Messages};

/// Elements of one message stay below this many bytes: an attribute holds at most 65,535.
const ELEMENTS_BYTES_MAX: usize = 48 * 1024;

/// A transaction under construction.
#[derive(Debug)]
pub struct Batch<'a> {
    messages: Messages,
    ruleset: &'a Ruleset,
    fixed: [u8; 4],
    anonymous: u32,
    /// What the messages are about, for errors.
    notes: Vec<(u32, Note)>,
}

/// What a message of a transaction is about.
#[derive(Debug, Clone)]
pub enum Note {
    Table,
    Chain(Name),
    Set(Name),
    Elements(Name),
    RemoveChain(Name),
    RemoveSet(Name),
    RemoveElements(Name),
}

/// A transaction ready to send.
#[derive(Debug)]
pub struct Sealed {
    pub messages: Messages,
    /// The number of the message that opens the transaction: failures of the whole are reported on it.
    pub begin: u32,
    /// The number of the last change, which is acknowledged.
    pub last: u32,
    pub notes: Vec<(u32, Note)>,
}

impl<'a> Batch<'a> {
    /// Opens a transaction that only takes place if the kernel's generation is the one given.
    pub fn begin(mut messages: Messages, ruleset: &'a Ruleset, generation: Option<u32>) -> Self {
        messages.message(wire::BATCH_BEGIN, 0, &[0, 0, 0, 10], |a| {
            if let Some(generation) = generation {
                a.be32(wire::BATCH_GENERATION, generation);
            }
        });
        let fixed = [wire::family(ruleset.family), 0, 0, 0];
        Batch {
            messages,
            ruleset,
            fixed,
            anonymous: 0,
            notes: Vec::new(),
        }
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Closes the transaction. The last change asks for an acknowledgement, as the whole has none.
    pub fn seal(mut self) -> Sealed {
        let last = self.messages.acknowledge_latest();
        let begin = last.wrapping_add(1).wrapping_sub(self.messages.count());
        self.messages
            .message(wire::BATCH_END, 0, &[0, 0, 0, 10], |_| {});
        Sealed {
            messages: self.messages,
            begin,
            last,
            notes: self.notes,
        }
    }

    /// Removes the table with all that is in it, whether it exists or not.
    pub fn remove_table(&mut self) {
        self.put(Note::Table, wire::NEW_TABLE, CREATE, |a, table| {
            a.text(wire::TABLE_NAME, table);
        });
        self.put(Note::Table, wire::DEL_TABLE, 0, |a, table| {
            a.text(wire::TABLE_NAME, table);
        });
    }

    /// Replaces the table by the ruleset.
    pub fn replace_table(&mut self) {
        let ruleset = self.ruleset;
        self.remove_table();
        self.put(Note::Table, wire::NEW_TABLE, CREATE, |a, table| {
            a.text(wire::TABLE_NAME, table);
        });
        for (name, set) in &ruleset.sets {
            self.add_set(name, set);
        }
        for (name, chain) in &ruleset.chains {
            self.add_chain(name, chain);
        }
        for (name, chain) in &ruleset.chains {
            self.add_rules(name, chain);
        }
        let elements: Vec<_> = ruleset.elements.iter().collect();
        self.elements(wire::NEW_ELEMENT, &elements);
    }

    /// Writes what turns `from` into the ruleset. `None` if a set or base chain would have to become another one under
    /// the same name, which only a replacement can do.
    pub fn change_from(&mut self, from: &Ruleset) -> Option<()> {
        let to = self.ruleset;
        let mut gone_sets = Vec::new();
        for item in from.sets.diff(&to.sets) {
            match item {
                DiffItem::Add(name, set) => self.add_set(name, set),
                DiffItem::Update { .. } => return None,
                DiffItem::Remove(name, _) => gone_sets.push(name),
            }
        }
        let chains = ChainChanges::between(from, to)?;
        for (name, chain) in &chains.added {
            self.add_chain(name, chain);
        }
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for item in from.elements.diff(&to.elements) {
            match item {
                DiffItem::Add(key, element) => come.push((key, element)),
                DiffItem::Update { old, new } => {
                    gone.push(old);
                    come.push(new);
                }
                DiffItem::Remove(key, element) => gone.push((key, element)),
            }
        }
        gone.retain(|(key, _)| to.sets.contains_key(&key.set));
        self.elements(wire::DEL_ELEMENT, &gone);
        for name in chains
            .changed
            .iter()
            .map(|(name, _)| *name)
            .chain(chains.removed.iter().copied())
        {
            self.flush_chain(name);
        }
        for (name, chain) in chains.changed.iter().chain(&chains.added) {
            self.add_rules(name, chain);
        }
        self.elements(wire::NEW_ELEMENT, &come);
        for name in chains.removed {
            self.put(
                Note::RemoveChain(name.clone()),
                wire::DEL_CHAIN,
                0,
                |a, table| {
                    a.text(wire::CHAIN_TABLE, table)
                        .text(wire::CHAIN_NAME, name);
                },
            );
        }
        for name in gone_sets {
            self.put(
                Note::RemoveSet(name.clone()),
                wire::DEL_SET,
                0,
                |a, table| {
                    a.text(wire::SET_TABLE, table).text(wire::SET_NAME, name);
                },
            );
        }
        Some(())
    }

    fn put(
        &mut self,
        note: Note,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Attributes<'_>, &str),
    ) {
        let table = &self.ruleset.table;
        let number = self
            .messages
            .message(kind, flags, &self.fixed, |a| body(a, table));
        self.notes.push((number, note));
    }

    fn add_chain(&mut self, name: &Name, chain: &Chain) {
        self.put(
            Note::Chain(name.clone()),
            wire::NEW_CHAIN,
            CREATE,
            |a, table| {
                a.text(wire::CHAIN_TABLE, table)
                    .text(wire::CHAIN_NAME, name);
                if let Some(base) = chain.base {
                    let hook = match base.hook {
                        Hook::Prerouting => 0,
                        Hook::Input => 1,
                        Hook::Forward => 2,
                        Hook::Output => 3,
                        Hook::Postrouting => 4,
                    };
                    let kind = match base.kind {
                        ChainKind::Filter => "filter",
                        ChainKind::Nat => "nat",
                    };
                    a.nest(wire::CHAIN_HOOK, |a| {
                        a.be32(wire::HOOK_NUMBER, hook)
                            .be32(wire::HOOK_PRIORITY, base.priority as u32);
                    });
                    a.be32(wire::CHAIN_POLICY, wire::VERDICT_ACCEPT)
                        .text(wire::CHAIN_TYPE, kind);
                }
            },
        );
    }

    fn flush_chain(&mut self, name: &Name) {
        self.put(Note::Chain(name.clone()), wire::DEL_RULE, 0, |a, table| {
            a.text(wire::RULE_TABLE, table).text(wire::RULE_CHAIN, name);
        });
    }

    fn add_rules(&mut self, name: &Name, chain: &Chain) {
        for rule in &chain.rules {
            self.add_rule(name, rule);
        }
    }

    fn add_rule(&mut self, chain: &Name, rule: &Rule) {
        let family = self.ruleset.family;
        let mut maps = Vec::with_capacity(rule.len());
        for statement in rule {
            if let Some(choices) = rule::choices(statement) {
                self.add_anonymous(chain, &choices);
            }
            maps.push(self.anonymous);
        }
        self.put(
            Note::Chain(chain.clone()),
            wire::NEW_RULE,
            CREATE | APPEND,
            |a, table| {
                a.text(wire::RULE_TABLE, table)
                    .text(wire::RULE_CHAIN, chain);
                a.nest(wire::RULE_EXPRESSIONS, |list| {
                    for (statement, map) in rule.iter().zip(maps) {
                        rule::statement(list, statement, family, map);
                    }
                });
            },
        );
    }

    fn add_set(&mut self, name: &Name, set: &Set) {
        let family = self.ruleset.family;
        let (key, length) = rule::type_of(&set.key, family);
        let mut flags = 0;
        if set.timeout.is_some() {
            flags |= wire::SET_HAS_TIMEOUT | wire::SET_DYNAMIC;
        }
        if set.value != ValueType::None {
            flags |= wire::SET_MAP;
        }
        self.put(
            Note::Set(name.clone()),
            wire::NEW_SET,
            CREATE,
            |a, table| {
                a.text(wire::SET_TABLE, table)
                    .text(wire::SET_NAME, name)
                    .be32(wire::SET_ID, 0);
                a.be32(wire::SET_FLAGS, flags)
                    .be32(wire::SET_KEY_TYPE, key)
                    .be32(wire::SET_KEY_LENGTH, length);
                match &set.value {
                    ValueType::None => {}
                    ValueType::Verdict => {
                        a.be32(wire::SET_DATA_TYPE, wire::DATA_VERDICT)
                            .be32(wire::SET_DATA_LENGTH, 0);
                    }
                    ValueType::Data(value) => {
                        let (kind, length) = rule::type_of(value, family);
                        a.be32(wire::SET_DATA_TYPE, kind)
                            .be32(wire::SET_DATA_LENGTH, length);
                    }
                }
                if let Some(seconds) = set.timeout {
                    a.bytes(
                        wire::SET_TIMEOUT,
                        &(u64::from(seconds) * 1000).to_be_bytes(),
                    );
                    a.nest(wire::SET_DESCRIPTION, |a| {
                        a.be32(wire::SET_DESCRIPTION_SIZE, 65_535);
                    });
                }
            },
        );
    }

    /// Declares a map inside a rule and fills it. Its number identifies it within the transaction.
    fn add_anonymous(&mut self, chain: &Name, choices: &Choices<'_>) {
        self.anonymous += 1;
        let (id, family) = (self.anonymous, self.ruleset.family);
        let (kind, length) = match choices {
            Choices::Endpoints(_) => rule::type_of(&[Type::Address, Type::Port], family),
            Choices::Chains(_) => (wire::DATA_VERDICT, 0),
        };
        let count = match choices {
            Choices::Endpoints(endpoints) => endpoints.len(),
            Choices::Chains(chains) => chains.len(),
        };
        self.put(
            Note::Chain(chain.clone()),
            wire::NEW_SET,
            CREATE,
            |a, table| {
                a.text(wire::SET_TABLE, table)
                    .text(wire::SET_NAME, rule::ANONYMOUS_MAP)
                    .be32(wire::SET_ID, id);
                a.be32(
                    wire::SET_FLAGS,
                    wire::SET_ANONYMOUS | wire::SET_CONSTANT | wire::SET_MAP,
                );
                a.be32(wire::SET_KEY_TYPE, wire::TYPE_INTEGER)
                    .be32(wire::SET_KEY_LENGTH, 4);
                a.be32(wire::SET_DATA_TYPE, kind)
                    .be32(wire::SET_DATA_LENGTH, length);
                a.nest(wire::SET_DESCRIPTION, |a| {
                    a.be32(wire::SET_DESCRIPTION_SIZE, count as u32);
                });
                // Tells `nft` that the keys are in the host's byte order: type 0, length 4, value 1.
                a.bytes(
                    wire::SET_USERDATA,
                    &[&[0, 4][..], &1u32.to_ne_bytes()].concat(),
                );
            },
        );
        let mut next = 0;
        while next < count {
            self.put(
                Note::Chain(chain.clone()),
                wire::NEW_ELEMENT,
                CREATE,
                |a, table| {
                    a.text(wire::ELEMENTS_TABLE, table)
                        .text(wire::ELEMENTS_SET, rule::ANONYMOUS_MAP);
                    a.be32(wire::ELEMENTS_SET_ID, id)
                        .nest(wire::ELEMENTS_LIST, |a| {
                            let start = a.position();
                            while next < count && a.position() - start < ELEMENTS_BYTES_MAX {
                                choice(a, choices, next);
                                next += 1;
                            }
                        });
                },
            );
        }
    }

    /// Adds or removes elements, grouped by set as they are sorted.
    fn elements(&mut self, kind: u16, elements: &[(&ElementKey, &Element)]) {
        let adds = kind == wire::NEW_ELEMENT;
        let mut rest = elements;
        while let Some((first, _)) = rest.first() {
            let set = &first.set;
            let note = if adds {
                Note::Elements(set.clone())
            } else {
                Note::RemoveElements(set.clone())
            };
            let mut taken = 0;
            self.put(note, kind, if adds { CREATE } else { 0 }, |a, table| {
                a.text(wire::ELEMENTS_TABLE, table)
                    .text(wire::ELEMENTS_SET, set);
                a.nest(wire::ELEMENTS_LIST, |a| {
                    let start = a.position();
                    for (key, value) in rest.iter().take_while(|(key, _)| key.set == *set) {
                        element(a, &key.key, if adds { value } else { &Element::Present });
                        taken += 1;
                        if a.position() - start > ELEMENTS_BYTES_MAX {
                            break;
                        }
                    }
                });
            });
            rest = &rest[taken..];
        }
    }
}

/// How the chains of two versions differ.
struct ChainChanges<'a> {
    added: Vec<(&'a Name, &'a Arc<Chain>)>,
    changed: Vec<(&'a Name, &'a Arc<Chain>)>,
    removed: Vec<&'a Name>,
}

impl<'a> ChainChanges<'a> {
    fn between(from: &'a Ruleset, to: &'a Ruleset) -> Option<Self> {
        let mut changes = ChainChanges {
            added: Vec::new(),
            changed: Vec::new(),
            removed: Vec::new(),
        };
        for item in from.chains.diff(&to.chains) {
            match item {
                DiffItem::Add(name, chain) => changes.added.push((name, chain)),
                DiffItem::Update { old, new } if old.1.base == new.1.base => {
                    changes.changed.push(new)
                }
                DiffItem::Update { .. } => return None,
                DiffItem::Remove(name, _) => changes.removed.push(name),
            }
        }
        Some(changes)
    }
}

fn choice(list: &mut Attributes<'_>, choices: &Choices<'_>, index: usize) {
    list.nest(wire::LIST_ELEMENT, |a| {
        a.nest(wire::ELEMENT_KEY, |a| {
            rule::value(a, &(index as u32).to_ne_bytes())
        });
        a.nest(wire::ELEMENT_DATA, |a| match choices {
            Choices::Endpoints(endpoints) => {
                let to = endpoints[index];
                rule::value(
                    a,
                    &rule::data_bytes(&[Datum::Address(to.ip()), Datum::Port(to.port())]),
                );
            }
            Choices::Chains(chains) => {
                rule::verdict(
                    a,
                    &corten_netplan::ruleset::Verdict::Goto(chains[index].clone()),
                );
            }
        });
    });
}

fn element(list: &mut Attributes<'_>, key: &[Datum], value: &Element) {
    list.nest(wire::LIST_ELEMENT, |a| {
        a.nest(wire::ELEMENT_KEY, |a| {
            rule::value(a, &rule::data_bytes(key))
        });
        match value {
            Element::Present => {}
            Element::Verdict(verdict) => {
                a.nest(wire::ELEMENT_DATA, |a| rule::verdict(a, verdict));
            }
            Element::Data(value) => {
                a.nest(wire::ELEMENT_DATA, |a| {
                    rule::value(a, &rule::data_bytes(value))
                });
            }
        }
    });
}
