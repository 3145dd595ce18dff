#include "routes.hpp"

#include <weft/error.hpp>

#include <exception>
#include <iostream>
#include <string>
#include <utility>

#include <boost/beast/http/field.hpp>

#include "page.hpp"
#include "query.hpp"

namespace compute_server {

namespace {

constexpr std::string_view kText = "text/plain; charset=utf-8";

Response make(http::status status, std::string body, std::string_view type = kText) {
    Response response(status, 11);
    response.set(http::field::content_type, std::string(type));
    response.body() = std::move(body);
    return response;
}

Response hello(Service&, Query&) { return make(http::status::ok, "hello\n"); }

Response page(Service&, Query&) {
    return make(http::status::ok, std::string(kPage), "text/html; charset=utf-8");
}

Response metrics(Service& service, Query&) {
    return make(http::status::ok,
                service.metrics.text(service.compute.in_use(), service.compute.limit()),
                "text/plain; version=0.0.4; charset=utf-8");
}

Response echo(Service&, Query&) {
    Response response = make(http::status::upgrade_required, "this path speaks WebSocket\n");
    response.set(http::field::upgrade, "websocket");
    response.set(http::field::connection, "upgrade");
    return response;
}

/// Runs compute() where there is room for it.
template <class F>
Response limited(Service& service, F&& compute) {
    auto place = service.compute.try_enter();
    if (!place) {
        service.metrics.count_rejected();
        Response response =
            make(http::status::service_unavailable, "too many computations run: try again later\n");
        response.set(http::field::retry_after, "1");
        return response;
    }
    try {
        return std::forward<F>(compute)();
    } catch (const weft::TimeoutError&) {
        return make(http::status::gateway_timeout, "the computation took too long\n");
    }
}

Response mandelbrot(Service& service, Query& query) {
    MandelbrotView view;
    view.x = query.real("x", view.x, -4, 4);
    view.y = query.real("y", view.y, -4, 4);
    view.zoom = query.real("zoom", view.zoom, 0.1, 1e13);
    view.width = static_cast<int>(query.integer("w", view.width, 1, 2048));
    view.height = static_cast<int>(query.integer("h", view.height, 1, 2048));
    view.iterations = static_cast<int>(query.integer("iterations", view.iterations, 1, 10'000));
    query.finish();
    return limited(service, [&] {
        return make(http::status::ok, service.compute.mandelbrot(view), "image/png");
    });
}

Response hash(Service& service, Query& query) {
    std::int64_t n = query.integer("n", 1, 1, 10'000'000);
    query.finish();
    return limited(service, [&] { return make(http::status::ok, service.compute.hash(n) + "\n"); });
}

Response evil(Service& service, Query& query) {
    std::string_view how = query.word("how", Evil::ways());
    query.finish();
    return limited(service, [&] {
        EvilEnd end = service.compute.evil(how);
        return make(
            end.timed_out ? http::status::gateway_timeout : http::status::internal_server_error,
            std::string(how) + ": " + end.what + "\n");
    });
}

struct Route {
    std::string_view path;
    Response (*get)(Service&, Query&);
};

constexpr Route kRoutes[] = {{"/", page},      {"/hello", hello}, {"/mandelbrot.png", mandelbrot},
                             {"/hash", hash},  {"/evil", evil},   {"/metrics", metrics},
                             {kEchoPath, echo}};

Response call(const Route& route, Service& service, const Request& request,
              std::string_view query_text) {
    if (request.method() != http::verb::get && request.method() != http::verb::head) {
        Response response =
            make(http::status::method_not_allowed, "this path knows GET and HEAD\n");
        response.set(http::field::allow, "GET, HEAD");
        return response;
    }
    try {
        Query query(query_text);
        Response response = route.get(service, query);
        query.finish();
        return response;
    } catch (const BadQuery& e) {
        return make(http::status::bad_request, std::string(e.what()) + "\n");
    } catch (const std::exception& e) {
        // The client need not know more.
        std::cerr << "compute_server: " << route.path << ": " << e.what() << std::endl;
        return make(http::status::internal_server_error, "internal error\n");
    }
}

}  // namespace

Response answer(Service& service, const Request& request) {
    std::string_view target(request.target().data(), request.target().size());
    std::string_view path = target.substr(0, target.find('?'));
    std::string_view query =
        path.size() < target.size() ? target.substr(path.size() + 1) : std::string_view();
    for (const Route& route : kRoutes) {
        if (route.path != path) continue;
        Response response = call(route, service, request, query);
        service.metrics.count_request(route.path, response.result_int());
        return response;
    }
    service.metrics.count_request("other", 404);
    return make(http::status::not_found, "there is nothing at this path\n");
}

Response refuse(Service& service, http::status status, std::string_view why) {
    service.metrics.count_request("refused", static_cast<unsigned>(status));
    Response response = make(status, std::string(why) + "\n");
    response.keep_alive(false);
    return response;
}

}  // namespace compute_server
