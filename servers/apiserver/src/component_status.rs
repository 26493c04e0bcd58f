//! `componentstatuses`: the store, as upstream lists its etcd. Left out: the scheduler and the controllers, which run in
//! this process or say how they are elsewhere; upstream asks fixed local ports that need not be theirs.

use std::sync::Arc;

use hyper::{Response, StatusCode};

use corten_api::core::v1::{ComponentCondition, ComponentStatus};
use corten_api::{Kind, Object};
use corten_client::{Status, Target};

use crate::body::Answer;
use crate::catalog::Served;
use crate::encode::{self, Form};
use crate::http::{self, Call};
use crate::resource::accepted;
use crate::server::Server;

pub(crate) fn serve(
    server: &Server,
    served: &Served,
    call: &Call,
) -> Result<Response<Answer>, Status> {
    let accepted = accepted(call, served)?;
    let form = Form::new(served, accepted, server.now());
    let store: Arc<Object> = Arc::new(store_status(server).into());
    let body = match call.info.name.as_str() {
        "" => encode::objects(served, &form, &[store], None)?,
        name if name == store.meta().name => encode::object(served, &form, &store)?,
        name => {
            return Err(Status::not_found(Target {
                group: "",
                resource: "componentstatus",
                name,
            }));
        }
    };
    Ok(http::respond(
        StatusCode::OK,
        form.media.content_type(),
        body,
    ))
}

fn store_status(server: &Server) -> ComponentStatus {
    let mut status = ComponentStatus::named("etcd-0");
    let (healthy, message) = match server.store_is_open() {
        true => ("True", "ok"),
        false => ("False", "the store takes no writes"),
    };
    status.conditions.push(ComponentCondition {
        type_: "Healthy".into(),
        status: healthy.into(),
        message: message.into(),
        ..ComponentCondition::default()
    });
    status
}
