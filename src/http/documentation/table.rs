//! The table of routes. It serves them, or describes them: a server that starts only needs the first, and the second takes more time and
//! memory than everything else that it does then.

use axum::{Router, handler::Handler, routing::MethodRouter};
use utoipa::openapi::OpenApi;
use utoipa_axum::{
    PathItemExt,
    router::{OpenApiRouter, UtoipaMethodRouter},
};

use crate::http::App;

pub enum Table {
    Served(Router<App>),
    Described(Box<OpenApiRouter<App>>),
}

/// The handlers of one path, by [`routes!`].
pub struct Routes {
    pub serve: fn() -> Handlers,
    pub describe: fn() -> UtoipaMethodRouter<App>,
}

/// Handlers, and their path.
#[derive(Default)]
pub struct Handlers {
    path: String,
    router: MethodRouter<App>,
}

impl Handlers {
    /// The same with another one, at the path and for the methods that `P` says.
    pub fn with<P: utoipa::Path, T: 'static, H: Handler<T, App>>(self, handler: H) -> Self {
        let methods = P::methods();
        let filters = methods.iter().map(PathItemExt::to_method_filter);
        Self {
            path: P::path(),
            router: filters.fold(self.router, |router, filter| router.on(filter, handler.clone())),
        }
    }
}

impl Table {
    /// What serves the routes that `add` puts there.
    pub fn router(add: fn(Self) -> Self) -> Router<App> {
        match add(Table::Served(Router::new())) {
            Table::Served(router) => router,
            Table::Described(router) => router.split_for_parts().0,
        }
    }

    /// The description of the routes that `add` puts there. It begins with `begun`.
    pub fn description(begun: OpenApi, add: fn(Self) -> Self) -> OpenApi {
        match add(Table::Described(Box::new(OpenApiRouter::with_openapi(begun)))) {
            Table::Described(router) => router.into_openapi(),
            Table::Served(_) => OpenApi::default(),
        }
    }

    /// Adds the handlers of a path.
    pub fn routes(self, routes: Routes) -> Self {
        match self {
            Table::Served(router) => {
                let handlers = (routes.serve)();
                Table::Served(router.route(&handlers.path, handlers.router))
            }
            Table::Described(router) => Table::Described(Box::new(router.routes((routes.describe)()))),
        }
    }

    /// The routes of a module.
    pub fn with(self, add: fn(Self) -> Self) -> Self {
        add(self)
    }

    /// Handlers at a path that is not the one that they are described with.
    pub fn at(self, path: &str, handlers: MethodRouter<App>, description: fn() -> OpenApi) -> Self {
        match self {
            Table::Served(router) => Table::Served(router.route(path, handlers)),
            Table::Described(router) => {
                let described = OpenApiRouter::with_openapi(description());
                Table::Described(Box::new(router.merge(described.route(path, handlers))))
            }
        }
    }
}

/// The type that `#[utoipa::path]` makes beside a handler.
macro_rules! path_of {
    ($handler:ident) => {
        utoipa_axum::paste! { [<__path_ $handler>] }
    };
    ($module:ident :: $handler:ident) => {
        utoipa_axum::paste! { $module::[<__path_ $handler>] }
    };
    ($outer:ident :: $module:ident :: $handler:ident) => {
        utoipa_axum::paste! { $outer::$module::[<__path_ $handler>] }
    };
}

/// As `utoipa_axum::routes!`, which always describes: handlers of one path, which `#[utoipa::path]` names.
macro_rules! routes {
    ($($($part:ident)::+),+ $(,)?) => {
        $crate::http::documentation::table::Routes {
            serve: || {
                $crate::http::documentation::table::Handlers::default()
                    $(.with::<$crate::http::documentation::table::path_of!($($part)::+), _, _>($($part)::+))+
            },
            describe: || utoipa_axum::routes!($($($part)::+),+),
        }
    };
}

pub(in crate::http) use {path_of, routes};
