//! PodTemplates.

use super::columns;
use super::pod::{default_pod_template, validate_pod_template};
use crate::core::pod::warnings::of_template;
use crate::rules::Rules;
use crate::{Column, Context, DeleteAnswer, FieldError, Generation, cells};
use corten_api::core::v1::{PodSpec, PodTemplate};
use corten_core::{Path, Time, Value};

/// The strategy of PodTemplates.
pub struct PodTemplates;

impl Rules for PodTemplates {
    type Of = PodTemplate;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, template: &mut PodTemplate) {
        default_pod_template(&mut template.template);
    }
    fn validate_create(&self, _cx: &Context, new: &PodTemplate) -> Vec<FieldError> {
        validate_pod_template(&new.template, &Path::Root.f("template"))
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &PodTemplate,
        _old: &PodTemplate,
    ) -> Vec<FieldError> {
        validate_pod_template(&new.template, &Path::Root.f("template"))
    }
    fn warnings(&self, _cx: &Context, new: &PodTemplate, old: Option<&PodTemplate>) -> Vec<String> {
        of_template(&new.template, old.map(|o| &o.template), "template")
    }
    fn columns(&self) -> &'static [Column] {
        &columns::POD_TEMPLATE
    }
    fn cells(&self, template: &PodTemplate, _now: &Time) -> Vec<Value> {
        let (names, images) = container_names(&template.template.spec);
        vec![
            Value::from(&template.metadata.name),
            Value::from(names),
            Value::from(images),
            Value::from(cells::labels(&template.template.metadata.labels)),
        ]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}

/// Names and images of the containers, for the wide columns of workloads.
pub fn container_names(spec: &PodSpec) -> (String, String) {
    let names: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    let images: Vec<&str> = spec.containers.iter().map(|c| c.image.as_str()).collect();
    (names.join(","), images.join(","))
}
