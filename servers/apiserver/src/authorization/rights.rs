//! Answers for rules that ask about other rights while they run and cannot wait: admission's checks against escalation,
//! `authorizer` in expressions. Invariant: the same authorizers decide as about the request itself; a question is put to
//! another server once per request, between two runs of the rule that asked it, and never while a rule runs.

use std::collections::HashMap;
use std::sync::Arc;

use corten_access::admission::Authorize;
use corten_access::{Attributes, Decision, MASTERS, UserInfo};
use parking_lot::Mutex;

use super::{Authorizer, Ruling};
use crate::server::Server;
use crate::typed::View;

/// How often a rule is run at most: each run asks at least one new question.
const ROUNDS_MAX: usize = 200;

/// Who decides for one request, with what was decided so far.
#[derive(Clone)]
pub(crate) struct Rights {
    view: Arc<View>,
    chain: Arc<Vec<Authorizer>>,
    memo: Arc<Mutex<Memo>>,
}

#[derive(Default)]
struct Memo {
    answers: HashMap<String, Ruling>,
    /// Asked in the last run, and not answered yet.
    open: Vec<(String, Question)>,
}

impl Rights {
    pub(super) fn new(view: Arc<View>, chain: Arc<Vec<Authorizer>>) -> Rights {
        Rights {
            view,
            chain,
            memo: Arc::default(),
        }
    }

    /// Decides at once, or notes the question and answers that nobody has an opinion.
    pub(crate) fn rule(&self, attributes: &Attributes<'_>) -> Ruling {
        if let Some(ruling) = self.rule_here(attributes) {
            return ruling;
        }
        let key = format!("{attributes:?}");
        let mut memo = self.memo.lock();
        if let Some(known) = memo.answers.get(&key) {
            return known.clone();
        }
        if !memo.open.iter().any(|(open, _)| *open == key) {
            memo.open.push((key, Question::of(attributes)));
        }
        Decision::NoOpinion(String::new()).into()
    }

    /// Decides when no other server has to be asked for it.
    fn rule_here(&self, attributes: &Attributes<'_>) -> Option<Ruling> {
        if attributes.user.in_group(MASTERS) {
            return Some(Decision::Allow(String::new()).into());
        }
        let mut reasons: Vec<String> = Vec::new();
        for authorizer in self.chain.iter() {
            match authorizer.decide_here(&self.view, attributes)? {
                Decision::NoOpinion(reason) => {
                    reasons.extend(Some(reason).filter(|r| !r.is_empty()));
                }
                decision => return Some(decision.into()),
            }
        }
        Some(Decision::NoOpinion(reasons.join("\n")).into())
    }

    /// Runs a rule until every question that it asked has its answer. A rule that asks nothing of other servers runs once.
    pub(crate) async fn settle<T>(&self, server: &Server, mut rule: impl FnMut() -> T) -> T {
        for _ in 0..ROUNDS_MAX {
            let outcome = rule();
            let open = std::mem::take(&mut self.memo.lock().open);
            if open.is_empty() {
                return outcome;
            }
            drop(outcome);
            for (key, question) in open {
                let attributes = question.attributes();
                let ruling = server.access.authorization.rule(server, &attributes).await;
                self.memo.lock().answers.insert(key, ruling);
            }
        }
        rule()
    }
}

impl Authorize for Rights {
    fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        self.rule(attributes).decision
    }
}

/// Attributes of their own.
struct Question {
    user: UserInfo,
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    path: String,
    resource_request: bool,
    field_selector: String,
    label_selector: String,
}

impl Question {
    fn of(a: &Attributes<'_>) -> Question {
        Question {
            user: a.user.clone(),
            verb: a.verb.to_owned(),
            group: a.group.to_owned(),
            version: a.version.to_owned(),
            resource: a.resource.to_owned(),
            subresource: a.subresource.to_owned(),
            namespace: a.namespace.to_owned(),
            name: a.name.to_owned(),
            path: a.path.to_owned(),
            resource_request: a.resource_request,
            field_selector: a.field_selector.to_owned(),
            label_selector: a.label_selector.to_owned(),
        }
    }

    fn attributes(&self) -> Attributes<'_> {
        Attributes {
            user: &self.user,
            verb: &self.verb,
            group: &self.group,
            version: &self.version,
            resource: &self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            path: &self.path,
            resource_request: self.resource_request,
            field_selector: &self.field_selector,
            label_selector: &self.label_selector,
        }
    }
}
