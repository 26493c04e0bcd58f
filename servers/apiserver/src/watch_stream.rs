//! The body of a watch: its frames one after another, until it ends or the server does. One future for the whole watch,
//! which stays where it is: an event moves nothing but its frame, and waiting for the end is begun once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::encode::Form;
use crate::watching::Watching;

/// Where a frame lies until it is taken.
type Place = Arc<Mutex<Option<Bytes>>>;

/// Frames of a watch.
struct Frames {
    made: Place,
    /// None when the watch has ended.
    making: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// The frames of a watch until `stop` turns true; `held` is let go with the watch.
pub(crate) fn frames<T: Send + 'static>(
    mut watching: Watching,
    mut form: Form,
    mut stop: watch::Receiver<bool>,
    held: T,
) -> impl Stream<Item = Bytes> + Send {
    let made = Place::default();
    let place = made.clone();
    let making = async move {
        let _held = held;
        let stopped = async {
            let _ = stop.wait_for(|stopped| *stopped).await;
        };
        tokio::pin!(stopped);
        loop {
            let frame = tokio::select! {
                biased;
                frame = watching.frames(&mut form) => frame,
                () = &mut stopped => None,
            };
            if frame.is_none() {
                return;
            }
            *place.lock() = frame;
            taken(&place).await;
        }
    };
    Frames {
        made,
        making: Some(Box::pin(making)),
    }
}

/// Waits until the frame was taken. Who takes it polls again by itself.
async fn taken(place: &Place) {
    std::future::poll_fn(|_| match place.lock().is_none() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

impl Stream for Frames {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(making) = &mut self.making else {
            return Poll::Ready(None);
        };
        if making.as_mut().poll(cx).is_ready() {
            self.making = None;
            return Poll::Ready(None);
        }
        match self.made.lock().take() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Poll::Pending,
        }
    }
}
