//! From a request to the handler that serves it: namespaces, versions, methods. The server calls it.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::message::Request;
use crate::{Args, Context, RemoteException, Version};

const PING_METHOD: &str = "oslo_rpc_server_ping";

type Answer = Result<Value, RemoteException>;
type Handler = Arc<dyn Fn(Context, Args) -> BoxFuture<'static, Answer> + Send + Sync>;

/// The methods of one namespace and version.
#[derive(Clone)]
pub struct Endpoint {
    namespace: Option<String>,
    version: Version,
    methods: HashMap<String, Handler>,
}

impl Endpoint {
    /// An endpoint without methods. `version` is the newest that it serves.
    pub fn new(namespace: Option<&str>, version: Version) -> Self {
        Self { namespace: namespace.map(str::to_owned), version, methods: HashMap::new() }
    }

    /// Adds a method; a second one of the same name replaces the first. Names that begin with `_` are never served.
    #[must_use]
    pub fn method<F, Fut>(mut self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Context, Args) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, RemoteException>> + Send + 'static,
    {
        self.methods.insert(name.into(), Arc::new(move |context, args| handler(context, args).boxed()));
        self
    }

    fn serves(&self, namespace: Option<&str>, version: Version) -> bool {
        self.namespace.as_deref() == namespace && self.version.is_compatible(version)
    }

    fn public_method(&self, name: &str) -> Option<&Handler> {
        if name.starts_with('_') {
            return None;
        }
        self.methods.get(name)
    }
}

/// The endpoints of a server, searched in order. Cheap to clone, for a server on each of several topics.
#[derive(Clone)]
pub struct Dispatcher {
    endpoints: Arc<Vec<Endpoint>>,
}

impl Dispatcher {
    /// A dispatcher over `endpoints`.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints: Arc::new(endpoints) }
    }

    /// Also answers `oslo_rpc_server_ping` with `"pong"`: `rpc_ping_enabled`.
    #[must_use]
    pub fn with_ping(mut self) -> Self {
        let ping = Endpoint::new(None, Version::DEFAULT).method(PING_METHOD, |_, _| async { Ok(Value::from("pong")) });
        Arc::make_mut(&mut self.endpoints).push(ping);
        self
    }

    /// Runs the method that the request asks for. A panic of the handler becomes an exception.
    pub(crate) async fn dispatch(&self, request: Request) -> Answer {
        let Request { method, args, namespace, version, context, .. } = request;
        let handler = self.find(namespace.as_deref(), version.as_deref(), &method)?;
        // The call is inside the guarded future: a handler may panic before it makes its own.
        let run = AssertUnwindSafe(async { handler(context, args).await }).catch_unwind();
        run.await.unwrap_or_else(|panic| {
            let cause = panic_text(&*panic);
            tracing::error!(method, cause, "an RPC handler panicked");
            Err(RemoteException::panicked(&method, cause))
        })
    }

    fn find(&self, namespace: Option<&str>, version: Option<&str>, method: &str) -> Result<&Handler, RemoteException> {
        let requested = match version {
            None => Ok(Version::DEFAULT),
            Some(text) => text.parse(),
        };
        let mut found_compatible = false;
        if let Ok(requested) = requested {
            for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.serves(namespace, requested)) {
                if let Some(handler) = endpoint.public_method(method) {
                    return Ok(handler);
                }
                found_compatible = true;
            }
        }
        if found_compatible {
            return Err(RemoteException::no_such_method(method));
        }
        let version = version.map_or_else(|| Version::DEFAULT.to_string(), str::to_owned);
        Err(RemoteException::unsupported_version(&version, method))
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(namespace: Option<&str>, version: Version, methods: &[&'static str]) -> Endpoint {
        let answer = format!("{}/{version}", namespace.unwrap_or("null"));
        methods.iter().fold(Endpoint::new(namespace, version), |endpoint, method| {
            let answer = answer.clone();
            endpoint.method(*method, move |_, _| std::future::ready(Ok(Value::from(answer.clone()))))
        })
    }

    fn dispatcher() -> Dispatcher {
        Dispatcher::new(vec![
            named(None, Version::new(6, 5), &["build", "_hidden"]),
            named(None, Version::new(5, 13), &["build", "old"]),
            named(None, Version::new(6, 1), &["build", "extra"]),
            named(Some("baseapi"), Version::new(1, 1), &["ping"]),
        ])
    }

    async fn dispatch(namespace: Option<&str>, version: Option<&str>, method: &str) -> Answer {
        let request = Request {
            method: method.to_owned(),
            namespace: namespace.map(str::to_owned),
            version: version.map(str::to_owned),
            ..Request::default()
        };
        dispatcher().dispatch(request).await
    }

    #[tokio::test]
    async fn the_first_endpoint_of_namespace_and_version_with_the_method_serves_it() {
        let cases = [
            (None, Some("6.0"), "build", "null/6.5"),
            (None, Some("5.0"), "build", "null/5.13"),
            (None, Some("6.1"), "extra", "null/6.1"),
            (Some("baseapi"), Some("1.1"), "ping", "baseapi/1.1"),
            (Some("baseapi"), None, "ping", "baseapi/1.1"),
        ];
        for (namespace, version, method, expected) in cases {
            assert_eq!(dispatch(namespace, version, method).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn a_method_that_no_compatible_endpoint_has_is_no_such_method() {
        for (version, method) in [("6.0", "old"), ("6.0", "nothing"), ("6.0", "_hidden"), ("6.3", "extra")] {
            let exception = dispatch(None, Some(version), method).await.unwrap_err();
            assert_eq!(exception.module, "oslo_messaging.rpc.dispatcher");
            assert_eq!(exception.class, "NoSuchMethod");
            assert_eq!(exception.message, format!("Endpoint does not support RPC method {method}"));
            assert_eq!(exception.args, [Value::from(exception.message)]);
        }
    }

    #[tokio::test]
    async fn a_version_or_namespace_that_nobody_serves_is_an_unsupported_version() {
        let cases = [
            (None, Some("6.6"), "6.6"),
            (None, Some("7.0"), "7.0"),
            (None, Some("soup"), "soup"),
            (None, None, "1.0"),
            (Some("compute_task"), Some("6.0"), "6.0"),
        ];
        for (namespace, version, shown) in cases {
            let exception = dispatch(namespace, version, "build").await.unwrap_err();
            assert_eq!(exception.module, "oslo_messaging.rpc.dispatcher");
            assert_eq!(exception.class, "UnsupportedVersion");
            let sentence = format!("Endpoint does not support RPC version {shown}. Attempted method: build");
            assert_eq!(exception.message, sentence);
        }
    }

    #[tokio::test]
    async fn a_panic_before_or_inside_the_future_is_an_exception() {
        fn before(_: Context, _: Args) -> std::future::Ready<Answer> {
            panic!("too early")
        }
        let endpoint = Endpoint::new(None, Version::DEFAULT)
            .method("before", before)
            .method("inside", |_, args| async move { panic!("number {}", args.len()) });
        let dispatcher = Dispatcher::new(vec![endpoint]);
        for (method, cause) in [("before", "too early"), ("inside", "number 0")] {
            let request = Request { method: method.to_owned(), ..Request::default() };
            let exception = dispatcher.dispatch(request).await.unwrap_err();
            let expected = RemoteException::panicked(method, cause);
            assert_eq!(exception, expected);
        }
    }
}
