# The demonstration of `make run` in one container: Envoy with the filter, the placement service and three simulated
# engines, started and supervised by berth-run. Plain http, public secrets: not for production. `make images` lays out
# the context (target/images/context/berth-demo).
FROM scratch
COPY rootfs/ /
# Logs, the rendered configuration and the database.
COPY --chown=65532:65532 data/ /berth/target/
ENV PATH=/usr/local/bin \
    BERTH_ROOT=/berth \
    ENVOY_PATH=/usr/local/bin/envoy
WORKDIR /berth
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/berth-run"]
