//! What every RPC method has, and how one is registered with a server.

use std::future::Future;

use kilonova_core::RequestContext;
use kilonova_messaging::{Args, Endpoint, RemoteException, Version};
use kilonova_objects::{Wire, WireError};

/// One RPC method.
pub trait RpcMethod: Sized + Send + 'static {
    /// Its name on the wire.
    const NAME: &'static str;
    /// Its namespace on the wire.
    const NAMESPACE: Option<&'static str>;
    /// The version that it is sent with.
    const VERSION: Version;
    /// What it answers.
    type Reply: Wire + Send;

    /// The arguments on the wire.
    fn to_args(&self) -> Args;

    /// From the arguments on the wire; what an older client left out reads as unset.
    fn from_args(args: &Args) -> Result<Self, WireError>;
}

/// Adds the method `M` to an endpoint: `handler` gets the caller's context and the decoded method.
#[must_use]
pub fn register<M, F, Fut>(endpoint: Endpoint, handler: F) -> Endpoint
where
    M: RpcMethod,
    F: Fn(RequestContext, M) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<M::Reply, RemoteException>> + Send + 'static,
{
    endpoint.method(M::NAME, move |context, args| {
        let handler = handler.clone();
        async move {
            let context = RequestContext::from_map(context).map_err(|error| invalid("context", &error))?;
            let method = M::from_args(&args).map_err(|error| invalid(M::NAME, &error))?;
            handler(context, method).await.map(|reply| reply.to_wire())
        }
    })
}

/// What Python raises when a method is called with arguments that it cannot take.
fn invalid(what: &str, error: &dyn std::error::Error) -> RemoteException {
    tracing::warn!(what, %error, "an RPC message cannot be read");
    RemoteException::new("builtins", "TypeError", format!("{what}: {error}"))
}

/// Declares an RPC method: a struct of its arguments, and its wire form.
macro_rules! rpc_method {
    (
        $(#[$meta:meta])*
        $name:ident = $wire:literal, $namespace:expr, ($major:literal, $minor:literal),
        { $( $(#[$field_meta:meta])* $field:ident : $type:ty ),* $(,)? } -> $reply:ty
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $(#[$field_meta])* #[allow(missing_docs, reason = "the argument's name is Nova's")] pub $field: $type, )*
        }

        impl $crate::RpcMethod for $name {
            const NAME: &'static str = $wire;
            const NAMESPACE: Option<&'static str> = $namespace;
            const VERSION: kilonova_messaging::Version = kilonova_messaging::Version::new($major, $minor);
            type Reply = $reply;

            fn to_args(&self) -> kilonova_messaging::Args {
                #[allow(unused_mut, reason = "a method may have no arguments")]
                let mut args = kilonova_messaging::Args::new();
                $( args.insert(stringify!($field).to_owned(), kilonova_objects::Wire::to_wire(&self.$field)); )*
                args
            }

            fn from_args(args: &kilonova_messaging::Args) -> Result<Self, kilonova_objects::WireError> {
                $(
                    let at = |source: kilonova_objects::WireError| kilonova_objects::WireError::Field {
                        object: $wire, field: stringify!($field), source: Box::new(source),
                    };
                    let $field = match args.get(stringify!($field)) {
                        Some(value) => <$type as kilonova_objects::Wire>::from_wire(value).map_err(at)?,
                        None => <$type as kilonova_objects::Wire>::when_unset()
                            .ok_or(kilonova_objects::WireError::Missing).map_err(at)?,
                    };
                )*
                let _ = args;
                Ok(Self { $( $field ),* })
            }
        }
    };
}
pub(crate) use rpc_method;
