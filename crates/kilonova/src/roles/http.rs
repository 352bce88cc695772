//! The HTTP server of all services.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::front::Front;

/// A running HTTP server.
pub(crate) struct HttpServer {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Serves what `front` hands on.
    pub(crate) fn start(listener: TcpListener, front: Front) -> Self {
        let (stop, stopped) = oneshot::channel();
        let service = Router::new().fallback_service(front).into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move {
            let until_stopped = async {
                // A sender that is gone asks for the same as one that speaks.
                let _ = stopped.await;
            };
            if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(until_stopped).await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
        Self { stop, task }
    }

    /// Takes no new connections, answers the requests that run, and cuts off what is left at the bound.
    pub(crate) async fn stop(self, bound: Duration) {
        let Self { stop, mut task } = self;
        drop(stop);
        if tokio::time::timeout(bound, &mut task).await.is_err() {
            task.abort();
        }
    }
}
