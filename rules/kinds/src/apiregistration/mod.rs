//! APIServices.

mod api_service;
mod columns;

pub use api_service::ApiServices;
