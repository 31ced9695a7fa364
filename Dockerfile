# All of Larder: `docker build -t larder .`; with `--build-arg FEATURES=--no-default-features` an image that only
# serves and publishes.
FROM rust:1.95-bookworm AS build
WORKDIR /larder
COPY Cargo.toml Cargo.lock larder.example.toml ./
COPY src src
COPY benches benches
COPY openapi openapi
COPY console console
ARG FEATURES="--features delta"
RUN cargo build --locked --release --bin larder $FEATURES && strip target/release/larder

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/larder larder
COPY --from=build /larder/target/release/larder /usr/local/bin/larder
USER larder
WORKDIR /var/lib/larder
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=2s --start-period=5s CMD curl -fsS http://127.0.0.1:8080/healthz
CMD ["larder", "serve", "--listen", "0.0.0.0:8080"]
