//! Match conditions: expressions that must all hold before a webhook or policy is asked.

use corten_api::Object;
use corten_api::admissionregistration::v1::MatchCondition;
use corten_client::Status;
use corten_kinds::admissionregistration::{Compiler, Naming, Purpose};

use super::asked::Asked;
use super::expressions::{
    Asking, CONDITIONS_COST_MAX, Evaluation, Expression, Facts, Outcome, Remaining,
};
use super::matching::Matched;

/// Compiled conditions.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    all: Vec<Expression>,
    fails_open: bool,
}

/// What conditions say of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Hold,
    Fail,
    /// They could not be evaluated, and the failure policy does not pass over that.
    Wrong(String),
}

impl Conditions {
    /// The conditions of a webhook.
    pub(super) fn of_webhook(conditions: &[MatchCondition], fails_open: bool) -> Conditions {
        if conditions.is_empty() {
            return Conditions::default();
        }
        let naming = Naming {
            authorizer: true,
            ..Naming::default()
        };
        Conditions::compile(conditions, fails_open, &Compiler::new(naming))
    }

    /// Conditions that may name what a compiler knows.
    pub(super) fn compile(
        conditions: &[MatchCondition],
        fails_open: bool,
        compiler: &Compiler,
    ) -> Conditions {
        let all = conditions.iter().map(|condition| Expression {
            source: condition.expression.to_string(),
            program: compiler.compile(&condition.expression, Purpose::Condition),
        });
        Conditions {
            all: all.collect(),
            fails_open,
        }
    }

    /// Whether a webhook is to be asked about a request.
    pub(super) async fn hold(
        &self,
        asked: &Asked<'_>,
        object: Option<&Object>,
        matched: &Matched,
    ) -> Result<bool, Status> {
        if self.all.is_empty() {
            return Ok(true);
        }
        let facts = Facts::of(asked, matched, object)?;
        match self.judge(asked, &facts, &[]).await {
            Verdict::Hold => Ok(true),
            Verdict::Fail => Ok(false),
            Verdict::Wrong(why) => Err(asked.forbidden(object, &why)),
        }
    }

    /// One that fails decides, whatever is wrong with others.
    pub(super) async fn judge(
        &self,
        asked: &Asked<'_>,
        facts: &Facts,
        variables: &[(String, Expression)],
    ) -> Verdict {
        if self.all.is_empty() {
            return Verdict::Hold;
        }
        let judge = || self.judge_once(asked, facts, variables);
        asked.rights.settle(asked.server, judge).await
    }

    fn judge_once(
        &self,
        asked: &Asked<'_>,
        facts: &Facts,
        variables: &[(String, Expression)],
    ) -> Verdict {
        let expressions: Vec<Option<&Expression>> = self.all.iter().map(Some).collect();
        let mut remaining = Remaining(CONDITIONS_COST_MAX);
        let evaluation = Evaluation::new(asked, facts, Asking::Allowed);
        let why = match evaluation.all(variables, &expressions, &mut remaining) {
            Err(exhausted) => exhausted,
            Ok(outcomes) => {
                if outcomes.contains(&Outcome::Bool(false)) {
                    return Verdict::Fail;
                }
                let mut failed: Vec<String> = Vec::new();
                for outcome in outcomes {
                    if let Outcome::Failed(why) = outcome
                        && !failed.contains(&why)
                    {
                        failed.push(why);
                    }
                }
                match failed.as_slice() {
                    [] => return Verdict::Hold,
                    [one] => one.clone(),
                    many => format!("[{}]", many.join(", ")),
                }
            }
        };
        match self.fails_open {
            true => Verdict::Fail,
            false => Verdict::Wrong(why),
        }
    }
}
