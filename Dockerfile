# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
# zlib-ng, which Pingora's crates use, is built with cmake.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tollgate \
    && install -s target/release/tollgate /usr/local/bin/tollgate

FROM debian:bookworm-slim
# Certificates: the roots by which the providers are trusted. Time zones: calendar days of `budgets.time_zone`.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin tollgate \
    && install -d -o tollgate -g tollgate /data
COPY --from=build /usr/local/bin/tollgate /usr/local/bin/tollgate
COPY conf /etc/tollgate
USER tollgate
# The default configuration keeps everything under `data`, relative to the working directory.
WORKDIR /
VOLUME /data
EXPOSE 8080 8081 9464
STOPSIGNAL SIGTERM
# bash speaks TCP: the image needs no HTTP client for this.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8081 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["tollgate"]
CMD ["serve", "-c", "/etc/tollgate/tollgate.yaml"]
