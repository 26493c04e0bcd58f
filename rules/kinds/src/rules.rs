//! `Rules`: a strategy written against a kind's own struct. Everything that implements it is a `Strategy`, which does
//! the split of spec and status and counts generations; a kind says only what is its own.

use crate::core::pod::drop_closed;
use crate::generic::content_changed;
use crate::{
    Column, Context, DeleteAnswer, FieldError, FixedName, Propagation, Scale, Strategy, cells,
    names,
};
use corten_api::{Kind, Object};
use corten_core::{Str, Time, Value};

/// Whether metadata.generation counts the changes of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// It stays as it is.
    Uncounted,
    /// 1 at first, one more for each change of anything but metadata and status.
    Counted,
}

/// What one kind defaults, prepares, validates and prints, with its struct. See `Strategy` for when each is called.
pub trait Rules: Sync {
    /// The struct, of the version that is stored.
    type Of: Kind;
    /// Whether generation is counted.
    const GENERATION: Generation = Generation::Uncounted;

    /// Fills in what the client left out.
    fn default(&self, _obj: &mut Self::Of) {}
    /// Defaults an object of another version of the kind.
    fn default_other(&self, _obj: &mut Object) {}
    /// For kinds with a status: empties it (`with_status!` writes these two).
    fn clear_status(&self, _new: &mut Self::Of) {}
    /// For kinds with a status: gives `new` the status of `old`.
    fn keep_status(&self, _new: &mut Self::Of, _old: &Self::Of) {}
    /// For kinds with a status: takes everything but metadata and status over from `old`.
    fn keep_content(&self, _new: &mut Self::Of, _old: &Self::Of) {}

    /// Called after the status was emptied and generation set.
    fn prepare_create(&self, _cx: &Context, _new: &mut Self::Of) {}
    /// Called before generations are compared; the status (part "") or content (part "status") is taken over already.
    fn prepare_update(&self, _cx: &Context, _part: &str, _new: &mut Self::Of, _old: &Self::Of) {}
    /// Whether an update of the main resource counts as a new generation.
    fn is_new_generation(&self, new: &Self::Of, old: &Self::Of) -> bool {
        content_changed(new, old)
    }
    /// What is wrong with a new object.
    fn validate_create(&self, _cx: &Context, _new: &Self::Of) -> Vec<FieldError> {
        vec![]
    }
    /// What is wrong with an update.
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        _new: &Self::Of,
        _old: &Self::Of,
    ) -> Vec<FieldError> {
        vec![]
    }
    /// Texts for `Warning` headers.
    fn warnings(&self, _cx: &Context, _new: &Self::Of, _old: Option<&Self::Of>) -> Vec<String> {
        vec![]
    }
    /// Columns of its table.
    fn columns(&self) -> &'static [Column] {
        &NAME_AND_AGE
    }
    /// One row of its table.
    fn cells(&self, obj: &Self::Of, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.meta().name),
            cells::age(&obj.meta().creation_timestamp, now),
        ]
    }
    /// Names of its field labels.
    fn field_labels(&self) -> &'static [&'static str] {
        &[]
    }
    /// Their values.
    fn field_values(&self, _obj: &Self::Of) -> Vec<Str> {
        vec![]
    }
    /// AllowCreateOnUpdate
    fn create_on_update(&self) -> bool {
        false
    }
    /// AllowUnconditionalUpdate
    fn unconditional_update(&self) -> bool {
        true
    }
    /// What a deletion answers.
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Status
    }
    /// Graceful deletion.
    fn grace(&self, _obj: &Self::Of, _asked: Option<i64>) -> Option<i64> {
        None
    }
    /// What happens to dependents when a deletion does not say.
    fn default_propagation(&self) -> Propagation {
        Propagation::Background
    }
    /// The scale subresource.
    fn scale(&self, _obj: &Self::Of) -> Option<Scale> {
        None
    }
    /// Changes the scale.
    fn set_scale(&self, _obj: &mut Self::Of, _replicas: i32) {}
    /// Whether finalizers without a domain must be standard ones: kinds that upstream checks with the rules of core.
    fn checks_finalizers(&self) -> bool {
        true
    }
    /// The one name that an object may have because of what else it says, and upstream's words when it has another.
    fn fixed_name(&self, _obj: &Self::Of) -> Option<FixedName> {
        None
    }
    /// What is wrong with a name.
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_subdomain(&names::as_prefix(name, prefix))
    }
}

/// The columns of kinds that show name and age.
pub static NAME_AND_AGE: [Column; 2] = [cells::NAME, cells::AGE];

/// Writes the three functions of `Rules` that split a status off.
macro_rules! with_status {
    () => {
        fn clear_status(&self, new: &mut Self::Of) {
            new.status = Default::default();
        }
        fn keep_status(&self, new: &mut Self::Of, old: &Self::Of) {
            new.status = old.status.clone();
        }
        fn keep_content(&self, new: &mut Self::Of, old: &Self::Of) {
            let kept = std::mem::replace(new, old.clone());
            new.metadata = kept.metadata;
            new.status = kept.status;
        }
    };
}
pub(crate) use with_status;

impl<R: Rules> Strategy for R {
    fn default(&self, obj: &mut Object) {
        match obj.downcast_mut::<R::Of>() {
            Some(obj) => Rules::default(self, obj),
            None => self.default_other(obj),
        }
    }
    fn prepare_create(&self, cx: &Context, new: &mut Object) {
        drop_closed(cx.snapshot.features(), new, None);
        let Some(new) = new.downcast_mut::<R::Of>() else {
            return;
        };
        self.clear_status(new);
        if R::GENERATION == Generation::Counted {
            new.meta_mut().generation = 1;
        }
        Rules::prepare_create(self, cx, new);
    }
    fn prepare_update(&self, cx: &Context, part: &str, new: &mut Object, old: &Object) {
        drop_closed(cx.snapshot.features(), new, Some(old));
        let (Some(new), Some(old)) = (new.downcast_mut::<R::Of>(), old.downcast_ref::<R::Of>())
        else {
            return;
        };
        match part {
            "" => self.keep_status(new, old),
            "status" => self.keep_content(new, old),
            _ => {}
        }
        Rules::prepare_update(self, cx, part, new, old);
        if R::GENERATION == Generation::Counted {
            let more = part != "status" && self.is_new_generation(new, old);
            new.meta_mut().generation = old.meta().generation + i64::from(more);
        }
    }
    fn validate_create(&self, cx: &Context, new: &Object) -> Vec<FieldError> {
        new.downcast_ref()
            .map_or(vec![], |new| Rules::validate_create(self, cx, new))
    }
    fn validate_update(
        &self,
        cx: &Context,
        part: &str,
        new: &Object,
        old: &Object,
    ) -> Vec<FieldError> {
        match (new.downcast_ref(), old.downcast_ref()) {
            (Some(new), Some(old)) => Rules::validate_update(self, cx, part, new, old),
            _ => vec![],
        }
    }
    fn warnings(&self, cx: &Context, new: &Object, old: Option<&Object>) -> Vec<String> {
        let old = old.and_then(Object::downcast_ref);
        new.downcast_ref()
            .map_or(vec![], |new| Rules::warnings(self, cx, new, old))
    }
    fn columns(&self) -> &'static [Column] {
        Rules::columns(self)
    }
    fn cells(&self, obj: &Object, now: &Time) -> Vec<Value> {
        obj.downcast_ref()
            .map_or(vec![], |obj| Rules::cells(self, obj, now))
    }
    fn field_labels(&self) -> &'static [&'static str] {
        Rules::field_labels(self)
    }
    fn field_values(&self, obj: &Object) -> Vec<Str> {
        obj.downcast_ref()
            .map_or(vec![], |obj| Rules::field_values(self, obj))
    }
    fn create_on_update(&self) -> bool {
        Rules::create_on_update(self)
    }
    fn unconditional_update(&self) -> bool {
        Rules::unconditional_update(self)
    }
    fn delete_answer(&self) -> DeleteAnswer {
        Rules::delete_answer(self)
    }
    fn grace(&self, obj: &Object, asked: Option<i64>) -> Option<i64> {
        Rules::grace(self, obj.downcast_ref()?, asked)
    }
    fn default_propagation(&self) -> Propagation {
        Rules::default_propagation(self)
    }
    fn scale(&self, obj: &Object) -> Option<Scale> {
        Rules::scale(self, obj.downcast_ref()?)
    }
    fn set_scale(&self, obj: &mut Object, replicas: i32) {
        if let Some(obj) = obj.downcast_mut() {
            Rules::set_scale(self, obj, replicas);
        }
    }
    fn checks_finalizers(&self) -> bool {
        Rules::checks_finalizers(self)
    }
    fn fixed_name(&self, obj: &Object) -> Option<FixedName> {
        obj.downcast_ref()
            .and_then(|obj| Rules::fixed_name(self, obj))
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        Rules::invalid_name(self, name, prefix)
    }
}
