//! Health rules: CEL expressions that say how objects of a kind do which do not follow Kubernetes' conventions.
//!
//! Compiled where a bundle is checked, to refuse what means nothing, and run by the reconciler. Every rule ends: what it
//! may look at is bounded, and so is how deep it may nest. What goes wrong in one is a [`Verdict::Unknown`].

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use cel::{
    Context, IdedExpr, Program,
    common::ast::{EntryExpr, Expr},
};
use serde_json::Value;

use crate::bundle::HealthRule;

/// The longest expression, in bytes.
const MAX_EXPRESSION: usize = 2048;
/// Brackets within brackets, and conditions within conditions: the parser needs stack for each.
const MAX_BRACKETS: usize = 16;
/// Operators, selections of fields among them, which make an expression deep as well.
const MAX_OPERATORS: usize = 120;
/// Operations upon results of operations: running it needs stack for each.
const MAX_TREE: usize = 24;
/// Stack of the parser.
const STACK: usize = 64 * 1024 * 1024;
/// The largest object that a rule looks at, in values; where a rule goes through lists within lists, the second.
const MAX_VALUES: [usize; 2] = [50_000, 2_000];
/// How deep an object may be.
const MAX_DEPTH: usize = 64;

/// A rule, ready to run.
#[derive(Debug)]
pub struct Rule {
    healthy: Expression,
    failed: Option<Expression>,
}

#[derive(Debug)]
struct Expression {
    text: String,
    program: Program,
    max_values: usize,
}

/// What a rule says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does well.
    Healthy,
    /// It never will without help.
    Failed,
    /// Neither.
    Pending,
    /// The rule could not be run; says why.
    Unknown(String),
}

/// An expression that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("health rule of {kind}: `{field}` is no CEL expression that can be run: {why}")]
pub struct Fault {
    /// The number of the rule among those of the bundle.
    pub rule: usize,
    /// The rule's kind.
    pub kind: String,
    /// `healthy` or `failed`.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

/// All that is wrong with a bundle's rules.
pub fn check(rules: &[HealthRule]) -> Vec<Fault> {
    let faults = rules.iter().enumerate().map(|(number, rule)| {
        let fields = [("healthy", Some(&rule.healthy)), ("failed", rule.failed.as_ref())];
        fields.into_iter().filter_map(move |(field, text)| {
            let why = compile(text?).err()?;
            Some(Fault {
                rule: number,
                kind: rule.kind.clone(),
                field,
                why,
            })
        })
    });
    faults.flatten().collect()
}

impl Rule {
    /// Compiles a rule; `None` where [`check`] finds something wrong with it.
    pub fn new(rule: &HealthRule) -> Option<Self> {
        Some(Self {
            healthy: compile(&rule.healthy).ok()?,
            failed: match &rule.failed {
                Some(failed) => Some(compile(failed).ok()?),
                None => None,
            },
        })
    }

    /// Judges a live object.
    pub fn judge(&self, object: &Value) -> Verdict {
        let failed = self.failed.as_ref().map_or(Ok(false), |failed| failed.run(object));
        match failed.and_then(|failed| {
            if failed {
                Ok(Err(()))
            } else {
                self.healthy.run(object).map(Ok)
            }
        }) {
            Ok(Err(())) => Verdict::Failed,
            Ok(Ok(true)) => Verdict::Healthy,
            Ok(Ok(false)) => Verdict::Pending,
            Err(why) => Verdict::Unknown(why),
        }
    }

    /// The expression that is true when an object is healthy.
    pub fn healthy(&self) -> &str {
        &self.healthy.text
    }

    /// The expression that is true when it has failed.
    pub fn failed(&self) -> &str {
        self.failed.as_ref().map_or("", |failed| &failed.text)
    }
}

impl Expression {
    fn run(&self, object: &Value) -> Result<bool, String> {
        let told = |why: &str| format!("health rule `{}`: {why}", self.text);
        let mut left = self.max_values;
        if !fits(object, MAX_DEPTH, &mut left) {
            return Err(told("the object is too large or too deep for it"));
        }
        // A fault of the interpreter must not end whoever asks.
        let run = AssertUnwindSafe(|| {
            let mut context = Context::default();
            let value = cel::to_value(object).map_err(|error| error.to_string())?;
            context.add_variable_from_value("self", value);
            self.program.execute(&context).map_err(|error| error.to_string())
        });
        match catch_unwind(run) {
            Ok(Ok(cel::Value::Bool(answer))) => Ok(answer),
            Ok(Ok(_)) => Err(told("it gives neither true nor false")),
            Ok(Err(error)) => Err(told(&error)),
            Err(_) => Err(told("the interpreter failed on it")),
        }
    }
}

fn compile(text: &str) -> Result<Expression, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() > MAX_EXPRESSION {
        return Err(format!("it has {} bytes, more than {MAX_EXPRESSION}", text.len()));
    }
    let (mut brackets, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => brackets += 1,
            b')' | b']' | b'}' => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        most = most.max(brackets);
    }
    if most > MAX_BRACKETS || text.matches('?').count() > MAX_BRACKETS {
        return Err(format!("it nests deeper than {MAX_BRACKETS} brackets or conditions"));
    }
    let operators = text.bytes().filter(|byte| b".[(?!-+*/%&|<>=".contains(byte)).count();
    if operators > MAX_OPERATORS {
        return Err(format!("it has {operators} operators, more than {MAX_OPERATORS}"));
    }
    // The parser needs much stack for little text, and a panic in it must not end whoever asks.
    let parsed = thread::scope(|scope| {
        let parser = thread::Builder::new().stack_size(STACK);
        let parsed = parser.spawn_scoped(scope, || {
            Program::compile(text)
                .map(|program| Some(program).filter(|program| depth(program.expression()) <= MAX_TREE))
        });
        parsed.ok()?.join().ok()
    });
    let program = parsed.ok_or("it cannot be parsed")?.map_err(|errors| {
        let errors = errors.errors.iter();
        let errors = errors.map(|error| format!("column {}: {}", error.pos.1 + 1, error.msg));
        errors.collect::<Vec<_>>().join("; ")
    })?;
    let program = program.ok_or_else(|| format!("it is more than {MAX_TREE} operations deep"))?;
    let nesting = nesting(program.expression());
    let max_values = match nesting {
        0 | 1 => MAX_VALUES[0],
        2 => MAX_VALUES[1],
        _ => return Err("it goes through lists within lists within lists, which may take too long".to_owned()),
    };
    Ok(Expression {
        text: text.to_owned(),
        program,
        max_values,
    })
}

/// How deep operations are within each other.
fn depth(expression: &IdedExpr) -> usize {
    let most = |parts: &mut dyn Iterator<Item = &IdedExpr>| parts.map(depth).max().unwrap_or_default();
    let of_entries = |entries: &[cel::common::ast::IdedEntryExpr]| {
        let depths = entries.iter().map(|entry| match &entry.expr {
            EntryExpr::StructField(field) => depth(&field.value),
            EntryExpr::MapEntry(entry) => depth(&entry.key).max(depth(&entry.value)),
        });
        depths.max().unwrap_or_default()
    };
    1 + match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        Expr::Call(call) => most(&mut call.target.iter().map(|target| &**target).chain(&call.args)),
        Expr::List(list) => most(&mut list.elements.iter()),
        Expr::Select(select) => depth(&select.operand),
        Expr::Map(map) => of_entries(&map.entries),
        Expr::Struct(of) => of_entries(&of.entries),
        Expr::Comprehension(all) => {
            let parts = [
                &all.iter_range,
                &all.accu_init,
                &all.loop_cond,
                &all.loop_step,
                &all.result,
            ];
            most(&mut parts.into_iter())
        }
    }
}

/// How many loops are within each other.
fn nesting(expression: &IdedExpr) -> usize {
    let most = |parts: &mut dyn Iterator<Item = &IdedExpr>| parts.map(nesting).max().unwrap_or_default();
    match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        Expr::Call(call) => most(&mut call.target.iter().map(|target| &**target).chain(&call.args)),
        Expr::List(list) => most(&mut list.elements.iter()),
        Expr::Select(select) => nesting(&select.operand),
        Expr::Map(map) => map
            .entries
            .iter()
            .map(|entry| of_entry(&entry.expr))
            .max()
            .unwrap_or_default(),
        Expr::Struct(of) => of
            .entries
            .iter()
            .map(|entry| of_entry(&entry.expr))
            .max()
            .unwrap_or_default(),
        Expr::Comprehension(all) => {
            let inner = [&all.accu_init, &all.loop_cond, &all.loop_step, &all.result];
            (1 + most(&mut inner.into_iter())).max(nesting(&all.iter_range))
        }
    }
}

fn of_entry(entry: &EntryExpr) -> usize {
    match entry {
        EntryExpr::StructField(field) => nesting(&field.value),
        EntryExpr::MapEntry(entry) => nesting(&entry.key).max(nesting(&entry.value)),
    }
}

/// Counts values down; false when there are none left, or it is too deep.
fn fits(value: &Value, depth: usize, left: &mut usize) -> bool {
    if depth == 0 || *left == 0 {
        return false;
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter().all(|item| fits(item, depth - 1, left)),
        Value::Object(fields) => fields.values().all(|field| fits(field, depth - 1, left)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(healthy: &str, failed: Option<&str>) -> HealthRule {
        HealthRule {
            group: "example.com".to_owned(),
            kind: "Certificate".to_owned(),
            healthy: healthy.to_owned(),
            failed: failed.map(str::to_owned),
        }
    }

    fn verdict(healthy: &str, failed: Option<&str>, object: &Value) -> Verdict {
        Rule::new(&rule(healthy, failed)).unwrap().judge(object)
    }

    #[test]
    fn rules_judge_what_is_there() {
        let healthy = "has(self.status) && self.status.conditions.exists(c, c.type == 'Issued' && c.status == 'True')";
        let failed = Some("has(self.status) && self.status.phase == 'Refused'");
        let object = |phase: &str, status: &str| json!({"status": {"phase": phase, "conditions": [{"type": "Issued", "status": status}]}});
        assert_eq!(verdict(healthy, failed, &object("", "True")), Verdict::Healthy);
        assert_eq!(verdict(healthy, failed, &object("", "False")), Verdict::Pending);
        assert_eq!(verdict(healthy, failed, &object("Refused", "True")), Verdict::Failed);
        assert_eq!(verdict(healthy, failed, &json!({})), Verdict::Pending);
        let numbers = json!({"status": {"ready": 2}, "spec": {"replicas": 2}});
        assert_eq!(
            verdict("self.status.ready == self.spec.replicas", None, &numbers),
            Verdict::Healthy
        );
        assert_eq!(verdict("self.status.ready >= 2", None, &numbers), Verdict::Healthy);
    }

    #[test]
    fn what_goes_wrong_in_a_rule_is_told_with_the_rule() {
        for expression in ["self.status.phase == 'x'", "self.nope()", "1", "self.a[7]"] {
            let Verdict::Unknown(why) = verdict(expression, None, &json!({"a": []})) else {
                panic!("{expression} worked")
            };
            assert!(why.starts_with(&format!("health rule `{expression}`: ")), "{why}");
        }
    }

    #[test]
    fn what_does_not_compile_is_refused() {
        let deep = format!("{}1{}", "(".repeat(2000), ")".repeat(2000));
        let long = "1 + ".repeat(2000) + "1";
        let loops = "self.a.all(x, self.a.all(y, self.a.all(z, x + y == z)))";
        for expression in ["self.status ==", "", &deep, &long, loops] {
            let faults = check(&[rule("true", None), rule("true", Some(expression))]);
            assert_eq!(
                (faults.len(), faults[0].rule, faults[0].field),
                (1, 1, "failed"),
                "{expression}"
            );
        }
        let told = check(&[rule("self.status ==", None)])[0].to_string();
        assert!(
            told.starts_with("health rule of Certificate: `healthy` is no CEL expression"),
            "{told}"
        );
        assert!(!told.contains('\n'), "{told}");
    }

    #[test]
    fn long_chains_need_no_more_stack_than_there_is() {
        let chains = [
            "!".repeat(120) + "true",
            "- ".repeat(120) + "1",
            format!("self{}", ".a".repeat(120)),
            format!("self{}", "[0]".repeat(120)),
            "1 + ".repeat(120) + "1",
            "true && ".repeat(60) + "true",
            "true ? ".repeat(16) + "true" + &" : true".repeat(16),
        ];
        for chain in chains {
            assert!(chain.len() < MAX_EXPRESSION);
            if let Some(rule) = Rule::new(&rule(&chain, None)) {
                rule.judge(&json!({}));
            }
        }
    }

    #[test]
    fn rules_do_not_look_at_what_would_take_too_long() {
        let list: Vec<_> = (0..3_000).collect();
        let object = json!({ "a": list });
        assert_eq!(verdict("self.a.all(x, x >= 0)", None, &object), Verdict::Healthy);
        let Verdict::Unknown(why) = verdict("self.a.all(x, self.a.all(y, x >= 0))", None, &object) else {
            panic!("it went through all pairs")
        };
        assert!(why.contains("too large"), "{why}");
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        assert!(matches!(verdict("true", None, &deep), Verdict::Unknown(_)));
    }
}
