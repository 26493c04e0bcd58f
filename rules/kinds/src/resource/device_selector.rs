//! The expressions that choose devices: that they compile against a device and say yes or no. Leaves out upstream's
//! limit of cost, and expressions with `cel.bind`, which are taken as they are.

use crate::FieldError;
use crate::checks::Errors;
use corten_api::resource::v1::DeviceSelector;
use corten_cel::{Decl, Env, Type};
use corten_core::Path;

const SELECTORS_MAX: usize = 32;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
const ENTRIES_MAX: u64 = 32;

/// The selectors of a class or a request.
pub(super) fn all(errors: &mut Errors, path: &Path, all: &[DeviceSelector]) {
    if all.len() > SELECTORS_MAX {
        errors.push(FieldError::too_many(path, all.len(), SELECTORS_MAX));
        return;
    }
    for (i, selector) in all.iter().enumerate() {
        let at = path.i(i);
        let at = at.f("cel");
        let Some(cel) = &selector.cel else {
            errors.push(FieldError::required(at, ""));
            continue;
        };
        let at = at.f("expression");
        if cel.expression.len() > EXPRESSION_BYTES_MAX {
            errors.push(FieldError::too_long(at, EXPRESSION_BYTES_MAX));
        } else if let Err(why) = compile(&cel.expression) {
            errors.push(FieldError::invalid(at, &cel.expression, why));
        }
    }
}

fn compile(source: &str) -> Result<(), String> {
    if source.contains("cel.bind") {
        return Ok(());
    }
    let program = environment().compile(source, &[])?;
    match program.output() {
        Type::Bool | Type::Any | Type::Dyn => Ok(()),
        other => Err(format!(
            "must evaluate to bool or the unknown type, not {}",
            Env::type_name(other)
        )),
    }
}

/// `device`, with its driver, attributes and capacity by domain and name.
fn environment() -> Env {
    let by_name = |value: Type| {
        let inner = Decl::map(Decl::scalar(value), ENTRIES_MAX);
        Decl::map(inner, ENTRIES_MAX)
    };
    let device = Decl::object(
        "kubernetes.DRADevice",
        [
            ("driver", Decl::scalar(Type::String)),
            ("allowMultipleAllocations", Decl::scalar(Type::Bool)),
            ("attributes", by_name(Type::Dyn)),
            ("capacity", by_name(Type::object("kubernetes.Quantity"))),
        ],
    );
    Env::builder().declared("device", &device).build()
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn expressions_say_yes_or_no_about_a_device() {
        for good in [
            "device.driver == 'a.b'",
            "device.attributes['a.b'].model == 'x'",
            "device.capacity['a.b'].memory.compareTo(quantity('1Gi')) >= 0",
            "device.attributes['a.b'].flag",
            "cel.bind(a, device.attributes['a.b'], a.x)",
        ] {
            assert_eq!(compile(good), Ok(()), "{good}");
        }
        assert_eq!(
            compile("1").unwrap_err(),
            "must evaluate to bool or the unknown type, not int"
        );
        assert_eq!(
            compile("odd.x").unwrap_err(),
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'odd' (in container '')\n | odd.x\n | ^"
        );
    }
}
