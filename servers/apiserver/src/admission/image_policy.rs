//! ImagePolicyWebhook: another server says which images may run. Invariant: an answer is kept for as long as the settings
//! say; what no answer means is in the settings too.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corten_access::admission::{ImagePolicy, Operation};
use corten_api::Object;
use corten_api::core::v1::Pod;
use corten_client::Status;
use serde_json::{Value, json};

use super::Notes;
use super::asked::Asked;
use crate::Error;
use crate::remote::{Kept, Remote};

const PREFIX: &str = "imagepolicywebhook.image-policy.k8s.io/";
/// For each try.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Who is asked, and what was answered.
pub(crate) struct ImageChecks {
    policy: ImagePolicy,
    remote: Remote,
    kept: Kept<Value>,
}

impl ImageChecks {
    pub(crate) fn new(policy: ImagePolicy) -> Result<ImageChecks, Error> {
        let remote = Remote::read(Path::new(&policy.kubeconfig))?;
        Ok(ImageChecks {
            policy,
            remote,
            kept: Kept::new(),
        })
    }

    /// Asks about a pod's images. `Err` refuses it.
    pub(crate) async fn check(
        &self,
        asked: &Asked<'_>,
        object: Option<&Object>,
        notes: &mut Notes,
    ) -> Result<(), Status> {
        let written = matches!(asked.operation, Operation::Create | Operation::Update);
        let of_pod = asked.resource.group.is_empty() && asked.resource.resource == "pods";
        let part = matches!(asked.subresource, "" | "ephemeralcontainers");
        let pod = object.filter(|_| written && of_pod && part);
        let Some(pod) = pod.and_then(|o| o.downcast_ref::<Pod>()) else {
            return Ok(());
        };
        let spec = review(asked, pod);
        let key = spec.to_string();
        let status = match self.kept.get(&key) {
            Some(known) => known,
            None => match self.ask(asked, &spec).await {
                Ok(status) => {
                    let time = match status["allowed"] == true {
                        true => self.policy.allow_time,
                        false => self.policy.deny_time,
                    };
                    self.kept.keep(key, status.clone(), time);
                    status
                }
                Err(why) if self.policy.allows_by_default => {
                    tracing::warn!(%why, "no answer about images; the pod is let pass");
                    notes.annotate(format!("{PREFIX}failed-open"), "true");
                    return Ok(());
                }
                Err(why) => return Err(asked.forbidden(object, &why)),
            },
        };
        let annotations = status["auditAnnotations"].as_object();
        for (key, value) in annotations.into_iter().flatten() {
            notes.annotate(format!("{PREFIX}{key}"), value.as_str().unwrap_or_default());
        }
        if status["allowed"] == true {
            return Ok(());
        }
        let why = match status["reason"].as_str() {
            Some(reason) if !reason.is_empty() => {
                format!("image policy webhook backend denied one or more images: {reason}")
            }
            _ => "one or more images rejected by webhook backend".to_owned(),
        };
        Err(asked.forbidden(object, &why))
    }

    async fn ask(&self, asked: &Asked<'_>, spec: &Value) -> Result<Value, String> {
        let review = json!({
            "kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1",
            "metadata": {"creationTimestamp": null}, "spec": spec, "status": {"allowed": false},
        });
        let outbound = &asked.server.outbound;
        let body = Bytes::from(review.to_string());
        let mut answer = self.remote.post(outbound, body, TIME_MAX, false).await?;
        Ok(answer["status"].take())
    }
}

/// What is asked about.
fn review(asked: &Asked<'_>, pod: &Pod) -> Value {
    let image = |image: &str| json!({"image": image});
    let spec = &pod.spec;
    let containers: Vec<Value> = match asked.subresource {
        "" => {
            let all = spec.containers.iter().chain(spec.init_containers.iter());
            all.map(|c| image(&c.image)).collect()
        }
        _ => {
            let all = spec.ephemeral_containers.iter();
            all.map(|c| image(&c.ephemeral_container_common.image))
                .collect()
        }
    };
    let mut review = json!({"containers": containers, "namespace": asked.namespace});
    let annotations: serde_json::Map<String, Value> = pod
        .metadata
        .annotations
        .iter()
        .filter(|(key, _)| key.contains(".image-policy.k8s.io/"))
        .map(|(key, value)| (key.to_string(), Value::from(value.as_str())))
        .collect();
    if !annotations.is_empty() {
        review["annotations"] = annotations.into();
    }
    review
}
