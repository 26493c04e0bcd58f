//! What an expression may cost at most, before it is evaluated. The arithmetic is upstream's to the last rounding:
//! it decides which rules may be written into a definition.

use std::collections::{BTreeMap, HashMap};

use crate::ast::{Expr, Fold, Kind, Literal};
use crate::call_cost::{CallSite, call_estimate};
use crate::check::Checked;
use crate::decl::Decl;
use crate::macros;
use crate::types::Type;

/// A range of costs, or of sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

impl Cost {
    pub(crate) const UNKNOWN: Cost = Cost {
        min: 0,
        max: u64::MAX,
    };
    /// Exactly.
    pub const fn fixed(cost: u64) -> Cost {
        Cost {
            min: cost,
            max: cost,
        }
    }
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Cost) -> Cost {
        Cost {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }
    /// As often as the other says.
    #[must_use]
    pub const fn times(self, other: Cost) -> Cost {
        Cost {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }
    /// By a factor, rounded up.
    #[must_use]
    pub(crate) fn factor(self, factor: f64) -> Cost {
        let scale = |v: u64| -> u64 {
            let product = (v as f64 * factor).ceil();
            if product >= 18_446_744_073_709_551_616.0 {
                u64::MAX
            } else {
                product as u64
            }
        };
        Cost {
            min: scale(self.min),
            max: scale(self.max),
        }
    }
    /// What covers both.
    #[must_use]
    pub(crate) fn union(self, other: Cost) -> Cost {
        Cost {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// How large the entries of a container are.
#[derive(Clone, Copy, Debug)]
struct Entries {
    list: bool,
    key: Cost,
    value: Cost,
}

fn union(a: Option<Entries>, b: Option<Entries>) -> Option<Entries> {
    let (a, b) = (a?, b?);
    Some(Entries {
        list: a.list,
        key: a.key.union(b.key),
        value: a.value.union(b.value),
    })
}

#[derive(Clone, Debug)]
struct Local {
    path: Vec<String>,
    size: Option<Cost>,
    entries: Option<Entries>,
}

/// Estimates one expression.
pub(crate) struct Coster<'a> {
    checked: &'a Checked,
    sizes: Option<&'a Decl>,
    paths: HashMap<usize, Vec<String>>,
    computed: HashMap<usize, Cost>,
    entries: HashMap<usize, Entries>,
    locals: BTreeMap<String, Vec<Local>>,
}

/// A part of an expression as function costs see it.
#[derive(Clone, Debug)]
pub(crate) struct Node<'e> {
    pub path: Vec<String>,
    pub t: Type,
    pub size: Option<Cost>,
    pub expr: Option<&'e Expr>,
}

const ONE: Cost = Cost::fixed(1);

impl<'a> Coster<'a> {
    pub fn new(checked: &'a Checked, sizes: Option<&'a Decl>) -> Coster<'a> {
        Coster {
            checked,
            sizes,
            paths: HashMap::new(),
            computed: HashMap::new(),
            entries: HashMap::new(),
            locals: BTreeMap::new(),
        }
    }

    pub fn estimate(mut self, expr: &Expr) -> Cost {
        self.cost(expr)
    }

    fn t(&self, expr: &Expr) -> &Type {
        &self.checked.types[expr.id]
    }

    fn cost(&mut self, expr: &Expr) -> Cost {
        match &expr.kind {
            Kind::Literal(_) => Cost::fixed(0),
            Kind::Ident(name) => {
                let local = self.local(name).map(|l| l.path.clone());
                let path = local.unwrap_or_else(|| vec![name.clone()]);
                self.paths.insert(expr.id, path);
                ONE
            }
            Kind::Select {
                operand,
                field,
                test,
            } => {
                let mut sum = self.cost(operand);
                if *test {
                    return sum;
                }
                if matches!(
                    self.t(operand),
                    Type::Map(..) | Type::Object(_) | Type::Param(_)
                ) {
                    sum = sum.plus(ONE);
                }
                let path = self.extended(operand, field);
                self.paths.insert(expr.id, path);
                sum
            }
            Kind::Call { .. } => self.call(expr),
            Kind::List(_) | Kind::Map(_) => self.literal(expr),
            Kind::Struct { fields, .. } => fields
                .iter()
                .fold(Cost::fixed(40), |sum, f| sum.plus(self.cost(&f.value))),
            Kind::Fold(fold) if fold.is_bind() => self.bind(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    /// A list or map literal.
    fn literal(&mut self, expr: &Expr) -> Cost {
        let (sum, entries) = match &expr.kind {
            Kind::List(elements) => {
                let mut sum = Cost::fixed(10);
                let mut value = empty(elements.is_empty());
                for element in elements {
                    sum = sum.plus(self.cost(&element.expr));
                    value = value.union(self.size_or_unknown(&element.expr));
                }
                let list = true;
                (
                    sum,
                    Entries {
                        list,
                        key: ONE,
                        value,
                    },
                )
            }
            Kind::Map(entries) => {
                let mut sum = Cost::fixed(30);
                let (mut key, mut value) = (empty(entries.is_empty()), empty(entries.is_empty()));
                for entry in entries {
                    sum = sum
                        .plus(self.cost(&entry.key))
                        .plus(self.cost(&entry.value));
                    key = key.union(self.size_or_unknown(&entry.key));
                    value = value.union(self.size_or_unknown(&entry.value));
                }
                let list = false;
                (sum, Entries { list, key, value })
            }
            _ => return Cost::fixed(0),
        };
        self.entries.insert(expr.id, entries);
        sum
    }

    fn call(&mut self, expr: &Expr) -> Cost {
        let Kind::Call {
            function,
            target,
            args,
        } = &expr.kind
        else {
            return Cost::fixed(0);
        };
        if function == "dyn" && args.len() == 1 {
            let cost = self.cost(&args[0]);
            self.copy_sizes(expr, &args[0]);
            return cost.plus(ONE);
        }
        let mut costs = Vec::with_capacity(args.len());
        let mut nodes = Vec::with_capacity(args.len());
        for arg in args {
            costs.push(self.cost(arg));
            nodes.push(self.node(arg));
        }
        let checked = self.checked;
        let overloads = &checked.overloads[expr.id];
        if overloads.is_empty() {
            return Cost::fixed(0);
        }
        let mut sum = Cost::fixed(0);
        let target = target.as_ref().map(|target| {
            sum = self.cost(target);
            self.node(target)
        });
        let mut whole = Cost {
            min: u64::MAX,
            max: 0,
        };
        let mut size: Option<Cost> = None;
        for overload in overloads {
            let site = CallSite {
                function,
                overload,
                target: target.as_ref(),
                args: &nodes,
            };
            let (cost, result) = self.function(expr, &site, &costs);
            whole = whole.union(cost);
            if let Some(result) = result {
                size = Some(size.map_or(result, |s| s.union(result)));
            }
            if let Some(step) = match overload.as_str() {
                "index_list" => Some("@items"),
                "index_map" => Some("@values"),
                _ => None,
            } {
                size = self.entry_size(&args[0]).map(|e| e.value);
                let path = self.extended(&args[0], step);
                self.paths.insert(expr.id, path);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        if let Some(size) = size {
            self.computed.insert(expr.id, size);
        }
        sum.plus(whole)
    }

    fn function(
        &mut self,
        expr: &Expr,
        site: &CallSite<'_, '_>,
        costs: &[Cost],
    ) -> (Cost, Option<Cost>) {
        let args = costs.iter().fold(Cost::fixed(0), |sum, c| sum.plus(*c));
        let sizes = self.sizes;
        let at = |path: &[String]| size_at(sizes, path);
        if let Some((cost, size)) = call_estimate(site, &at) {
            return (cost.plus(args), size);
        }
        match site.overload {
            "logical_or" | "logical_and" => {
                let cost = Cost {
                    min: costs[0].min,
                    max: costs[0].plus(costs[1]).max,
                };
                (cost, None)
            }
            "conditional" => {
                let size = site.size(1).union(site.size(2));
                if let (Some(yes), Some(no)) = (site.args[1].expr, site.args[2].expr)
                    && let Some(entries) = union(self.entry_size(yes), self.entry_size(no))
                {
                    self.entries.insert(expr.id, entries);
                }
                (costs[0].plus(costs[1].union(costs[2])), Some(size))
            }
            "add_string" | "add_bytes" | "add_list" => {
                let size = site.size(0).plus(site.size(1));
                if let (Some(a), Some(b)) = (site.args[0].expr, site.args[1].expr)
                    && let Some(entries) = union(self.entry_size(a), self.entry_size(b))
                {
                    self.entries.insert(expr.id, entries);
                }
                let own = if site.overload == "add_list" {
                    ONE
                } else {
                    size.factor(0.1)
                };
                (own.plus(args), Some(size))
            }
            _ => (ONE.plus(args), None),
        }
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Cost {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push(&fold.accu, &fold.init);
        let entries = self.entry_size(&fold.range);
        let list = entries.map_or_else(|| matches!(self.t(&fold.range), Type::List(_)), |e| e.list);
        let keys = if fold.var2.is_some() && list {
            "@indices"
        } else {
            "@keys"
        };
        let values = if list { "@items" } else { "@values" };
        let value_first = fold.var2.is_none() && list;
        let step = if value_first { values } else { keys };
        let path = self.extended(&fold.range, step);
        let size = entries.map(|e| if value_first { e.value } else { e.key });
        self.push_local(&fold.var, path, size);
        if let Some(var2) = &fold.var2 {
            let path = self.extended(&fold.range, values);
            self.push_local(var2, path, entries.map(|e| e.value));
        }
        let condition = self.cost(&fold.condition);
        let step = self.cost(&fold.step);
        self.pop(&fold.var);
        if let Some(var2) = &fold.var2 {
            self.pop(var2);
        }
        sum = sum.plus(self.cost(&fold.result));
        self.pop(&fold.accu);
        let count = self.size_or_unknown(&fold.range);
        sum = sum.plus(count.times(step.plus(condition)));
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.computed.insert(expr.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.computed.insert(expr.id, count);
                if let Some(entries) = self.entry_size(&fold.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum
    }

    fn bind(&mut self, expr: &Expr, fold: &Fold) -> Cost {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push(&fold.accu, &fold.init);
        sum = sum.plus(self.cost(&fold.result));
        self.pop(&fold.accu);
        self.copy_sizes(expr, &fold.result);
        sum
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.get(name)?.last()
    }

    fn push(&mut self, name: &str, expr: &Expr) {
        let local = Local {
            path: self.path(expr),
            size: self.size(expr),
            entries: self.entry_size(expr),
        };
        self.locals.entry(name.to_owned()).or_default().push(local);
    }

    fn push_local(&mut self, name: &str, path: Vec<String>, size: Option<Cost>) {
        let local = Local {
            path,
            size,
            entries: None,
        };
        self.locals.entry(name.to_owned()).or_default().push(local);
    }

    fn pop(&mut self, name: &str) {
        if let Some(stack) = self.locals.get_mut(name) {
            stack.pop();
        }
    }

    fn path(&self, expr: &Expr) -> Vec<String> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn extended(&self, expr: &Expr, step: &str) -> Vec<String> {
        let mut path = self.path(expr);
        path.push(step.to_owned());
        path
    }

    fn node<'e>(&mut self, expr: &'e Expr) -> Node<'e> {
        let mut path = self.path(expr);
        if path
            .first()
            .is_some_and(|p| p == macros::ACCUMULATOR || p == macros::OLD_ACCUMULATOR)
        {
            path.clear();
        }
        Node {
            path,
            t: self.t(expr).clone(),
            size: self.size(expr),
            expr: Some(expr),
        }
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.computed.insert(to.id, size);
        }
        if let Some(entries) = self.entry_size(from) {
            self.entries.insert(to.id, entries);
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Cost {
        self.size(expr).unwrap_or(Cost::UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<Cost> {
        if let Some(size) = self.computed.get(&expr.id) {
            return Some(*size);
        }
        let known = match &expr.kind {
            Kind::Literal(Literal::Str(text)) => Some(text.chars().count()),
            Kind::Literal(Literal::Bytes(bytes)) => Some(bytes.len()),
            Kind::Literal(_) => Some(1),
            Kind::List(elements) => Some(elements.len()),
            Kind::Map(entries) => Some(entries.len()),
            _ => None,
        };
        if let Some(known) = known {
            return Some(Cost::fixed(known as u64));
        }
        if let Some(size) = size_at(self.sizes, &self.path(expr)) {
            self.computed.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(self.t(expr)) {
            return Some(ONE);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn entry_size(&self, expr: &Expr) -> Option<Entries> {
        if let Some(found) = self.entries.get(&expr.id) {
            return Some(*found);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.entries,
            _ => None,
        }
    }
}

/// The size range of what a path leads to; its first step names the variable.
fn size_at(sizes: Option<&Decl>, path: &[String]) -> Option<Cost> {
    let max = sizes?.elements_at(path.get(1..)?)?;
    Some(Cost { min: 0, max })
}

const fn empty(none: bool) -> Cost {
    Cost {
        min: if none { 0 } else { u64::MAX },
        max: 0,
    }
}

fn is_scalar(t: &Type) -> bool {
    match t {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => {
            true
        }
        t => t.unwrap_optional().is_some_and(is_scalar),
    }
}
