// The live view over real connections, to clients of every kind.
#include "flux/metrics/live_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "flux/base/file.h"
#include "metrics/http.h"
#include "support/http_client.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::metrics {
namespace {

using test::http_exchange;
using test::http_get;
using test::HttpClient;
using test::TemporaryFolder;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class LiveViewTest : public testing::Test {
protected:
    std::filesystem::path page() const { return folder_.path() / "report.html"; }
    int port() const { return view_.port(); }

    TemporaryFolder folder_;
    LiveView view_{"127.0.0.1", 0};
};

TEST_F(LiveViewTest, ServesThePageAsItIsNow) {
    EXPECT_THAT(http_get(port(), "/"), StartsWith("HTTP/1.1 503 "));
    view_.show(page());
    EXPECT_THAT(http_get(port(), "/"), StartsWith("HTTP/1.1 503 "));
    for (const char* text : {"<p>first</p>", "<p>second</p>"}) {
        write_text(page(), text);
        const std::string response = http_get(port(), "/");
        EXPECT_THAT(response, StartsWith("HTTP/1.1 200 OK\r\nServer: flux_train\r\n"));
        EXPECT_THAT(response, HasSubstr("Content-Type: text/html; charset=utf-8\r\n"));
        EXPECT_THAT(response, HasSubstr("Connection: close\r\n"));
        EXPECT_THAT(response, EndsWith(std::string("\r\n\r\n") + text));
    }
    EXPECT_THAT(http_get(port(), "/?from=bookmark"), EndsWith("second</p>"));
    EXPECT_THAT(http_exchange(port(), "GET / HTTP/1.0\n\n"), EndsWith("second</p>"));
    const std::string head = http_exchange(port(), "HEAD / HTTP/1.1\r\n\r\n");
    EXPECT_THAT(head, HasSubstr("Content-Length: 13\r\n"));
    EXPECT_THAT(head, EndsWith("\r\n\r\n"));
}

TEST_F(LiveViewTest, ServesLargePagesWhole) {
    const std::string text(20'000'000, 'x');
    write_text(page(), text);
    view_.show(page());
    EXPECT_THAT(http_get(port(), "/").size(), testing::Gt(text.size()));
}

TEST_F(LiveViewTest, ServesTheLastFigures) {
    TrainLine line;
    line.step = 30;
    line.samples = 480;
    line.loss = 0.75;
    view_.train(line);
    line.step = 40;
    view_.train(line);
    const std::string response = http_get(port(), "/metrics");
    EXPECT_THAT(response, HasSubstr("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    EXPECT_THAT(response, HasSubstr("\nflux_train_steps_total 40\n"));
    EXPECT_THAT(response, HasSubstr("\nflux_train_loss 0.75\n"));
    EXPECT_THAT(response, Not(HasSubstr("validation")));
    view_.validation({.step = 40, .val_loss = 0.5, .val_loss_t = {1, 2, 3, 4, 5, 6, 7, 8}});
    EXPECT_THAT(http_get(port(), "/metrics"),
                HasSubstr("flux_train_validation_timestep_loss{timestep=\"7\"} 8\n"));
}

TEST_F(LiveViewTest, RefusesAllElse) {
    for (const char* path : {"/report.html", "/metrics/", "/../config.toml", "//", "*"}) {
        EXPECT_THAT(http_get(port(), path), StartsWith("HTTP/1.1 404 ")) << path;
    }
    for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"}) {
        const std::string response = http_exchange(
            port(), std::string(method) + " / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
        EXPECT_THAT(response, StartsWith("HTTP/1.1 405 ")) << method;
        EXPECT_THAT(response, HasSubstr("Allow: GET, HEAD\r\n"));
    }
    for (const char* line :
         {"", "GET", "GET /", "GET  / HTTP/1.1", "get / HTTP/1.1", "GET / HTTP/2.0",
          "GET /\x01 HTTP/1.1", "PRI * HTTP/2.0", "\x16\x03\x01", "GET /a b HTTP/1.1"}) {
        EXPECT_THAT(http_exchange(port(), std::string(line) + "\r\n\r\n"),
                    StartsWith("HTTP/1.1 400 "))
            << line;
    }
    EXPECT_THAT(http_exchange(port(), "GET / HTTP/1.1\r\nX: " + std::string(100'000, 'x')),
                StartsWith("HTTP/1.1 431 "));
}

std::string asked_for(int port, const std::string& host) {
    return http_exchange(port, "GET /metrics HTTP/1.1\r\nAccept: */*\r\n" + host + "\r\n\r\n");
}

// What a page of another site sends whose name has come to mean this machine.
TEST_F(LiveViewTest, RefusesOtherHostsOnALoopBackAddress) {
    for (const char* host :
         {"Host: localhost", "host:127.0.0.1", "Host: [::1]:80\t", "HOST: LocalHost:65535",
          "X: Host: evil.example", "Host: localhost:"}) {
        EXPECT_THAT(asked_for(port(), host), StartsWith("HTTP/1.1 200 ")) << host;
    }
    for (const char* host :
         {"Host: evil.example", "Host: localhost.evil.example", "Host:", "Host: localhost:80x",
          "Host: evil.example\r\nHost: localhost", "Host: localhost\r\nHost: evil.example",
          "Host: localhost@evil.example", "Host: [::1", "Host", "Host: 127.0.0.1.evil.example"}) {
        EXPECT_THAT(asked_for(port(), host), StartsWith("HTTP/1.1 421 ")) << host;
    }
    const LiveView named("127.0.0.2", 0);
    EXPECT_EQ(named.address(), "http://127.0.0.2:" + std::to_string(named.port()) + "/");
    const LiveView open("0.0.0.0", 0);
    EXPECT_THAT(asked_for(open.port(), "Host: node7"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(LiveViewTest, AnswersWholeUrlsOfItsOwn) {
    const auto asked_by = [&](const std::string& url) {
        return http_exchange(port(), "GET " + url + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    };
    const std::string own = "http://127.0.0.1:" + std::to_string(port());
    EXPECT_EQ(asked_by(own + "/metrics?x"), asked_by("/metrics"));
    EXPECT_THAT(asked_by("HTTP://localhost/metrics"), StartsWith("HTTP/1.1 200 "));
    EXPECT_THAT(asked_by(own + "/none"), StartsWith("HTTP/1.1 404 "));
    EXPECT_EQ(asked_by(own), asked_by("/"));
    EXPECT_THAT(asked_by("http://evil.example/metrics"), StartsWith("HTTP/1.1 421 "));
    EXPECT_THAT(asked_by("http:///metrics"), StartsWith("HTTP/1.1 421 "));
}

TEST_F(LiveViewTest, SendsNoBodyForHead) {
    std::filesystem::create_directory(page());  // cannot be read
    view_.show(page());
    EXPECT_THAT(http_get(port(), "/"), StartsWith("HTTP/1.1 500 "));
    const std::vector<std::pair<std::string, std::string>> requests{
        {"HEAD / HTTP/1.1\r\n\r\n", "500"},
        {"HEAD /none HTTP/1.1\r\n\r\n", "404"},
        {"HEAD /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421"},
        {"HEAD / HTTP/7\r\n\r\n", "400"},
        {"HEAD /metrics HTTP/1.1\r\nX: " + std::string(10'000, 'x'), "431"}};
    for (const auto& [request, status] : requests) {
        const std::string response = http_exchange(port(), request);
        EXPECT_THAT(response, StartsWith("HTTP/1.1 " + status));
        EXPECT_THAT(response, EndsWith("\r\n\r\n")) << status;
    }
}

TEST(HostInUrl, PutsBracketsAroundIpv6) {
    EXPECT_EQ(host_in_url("::1"), "[::1]");
    EXPECT_EQ(host_in_url("localhost"), "localhost");
}

TEST_F(LiveViewTest, OutlivesGarbage) {
    std::mt19937 random(1);
    for (int i = 0; i < 200; ++i) {
        std::string bytes(random() % 3000, '\0');
        for (char& c : bytes) {
            c = static_cast<char>(random());
        }
        if (i % 2 == 0) {
            bytes += "\r\n\r\n";
        }
        const HttpClient client(port());
        client.send(bytes);
        if (i % 2 == 0) {
            EXPECT_THAT(client.receive(), StartsWith("HTTP/1.1 4"));
        }  // else: gone without a word
    }
    EXPECT_THAT(http_get(port(), "/metrics"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(LiveViewTest, AnswersOthersWhileManySayNothing) {
    std::vector<std::unique_ptr<HttpClient>> silent;
    for (int i = 0; i < 100; ++i) {
        silent.push_back(std::make_unique<HttpClient>(port()));
        silent.back()->send("GET / HT");
        ASSERT_THAT(http_get(port(), "/metrics"), StartsWith("HTTP/1.1 200 "));
    }
    EXPECT_THAT(silent.back()->receive(), StartsWith("HTTP/1.1 408 "));  // its time was over
}

TEST_F(LiveViewTest, AnswersOthersWhileOneDoesNotRead) {
    write_text(page(), std::string(50'000'000, 'x'));
    view_.show(page());
    const HttpClient lazy(port());
    lazy.send("GET / HTTP/1.1\r\n\r\n");
    EXPECT_THAT(http_get(port(), "/metrics"), StartsWith("HTTP/1.1 200 "));
}

// Also ends, with clients in all states: the tests above and this one would not.
TEST(LiveView, EndsWhateverClientsDo) {
    const TemporaryFolder folder;
    write_text(folder.path() / "page", std::string(50'000'000, 'x'));
    auto view = std::make_unique<LiveView>("127.0.0.1", 0);
    view->show(folder.path() / "page");
    const HttpClient silent(view->port()), lazy(view->port()), half(view->port());
    lazy.send("GET / HTTP/1.1\r\n\r\n");
    half.send("GET / HTTP/1.1\r\n");
    EXPECT_THAT(http_get(view->port(), "/metrics"), StartsWith("HTTP/1.1 200 "));
    const int port = view->port();
    view.reset();
    EXPECT_EQ(http_get(port, "/metrics"), "");
    const LiveView next("127.0.0.1", port);  // connections that linger do not keep the port
    EXPECT_THAT(http_get(port, "/metrics"), StartsWith("HTTP/1.1 200 "));
}

std::string error_of(const std::string& host, int port) {
    return test::problem_of<ConfigError>([&] { const LiveView view(host, port); });
}

TEST(LiveView, NamesTheOptionWhereItCannotListen) {
    const LiveView first("127.0.0.1", 0);
    const std::string port = std::to_string(first.port());
    EXPECT_EQ(error_of("127.0.0.1", first.port()),
              "metrics.http_port = " + port +
                  ": cannot listen on 127.0.0.1: Address already in use: choose another port, or 0 "
                  "for none");
    EXPECT_THAT(error_of("no such host.", 0),
                StartsWith("metrics.http_host = \"no such host.\": "));
    EXPECT_EQ(error_of("192.0.2.1", 0),
              "metrics.http_host = \"192.0.2.1\": is no address of this machine");
}

TEST(PrometheusText, HasOneTypedMetricAfterTheOther) {
    TrainLine line;
    line.loss = std::nan("");
    line.grad_norm = -INFINITY;
    line.memory_gib = 2;
    const std::string text = prometheus_text(line, std::nullopt);
    EXPECT_THAT(text,
                StartsWith("# HELP flux_train_steps_total Optimizer steps since the beginning "
                           "of the run.\n# TYPE flux_train_steps_total counter\n"
                           "flux_train_steps_total 0\n"));
    EXPECT_THAT(text, HasSubstr("\nflux_train_loss NaN\n"));
    EXPECT_THAT(text, HasSubstr("\nflux_train_grad_norm -Inf\n"));
    EXPECT_THAT(text, HasSubstr("\nflux_train_memory_bytes 2147483648\n"));
    EXPECT_THAT(text, Not(HasSubstr("mfu")));
    EXPECT_EQ(prometheus_text(std::nullopt, std::nullopt), "");
}

}  // namespace
}  // namespace flux::metrics
