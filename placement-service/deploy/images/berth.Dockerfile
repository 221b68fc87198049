# The placement service: one static program, CA certificates, nothing else. `make images` lays out the context
# (target/images/context/berth); no stage compiles, so that the image contains the tested program.
FROM scratch
COPY rootfs/ /
# The data folder is the only one that the service writes to.
COPY --chown=65532:65532 data/ /var/lib/
ENV PATH=/ \
    BERTH_CONFIG=/etc/berth/berth.yaml
WORKDIR /var/lib/berth
# By number, so that Kubernetes can check runAsNonRoot.
USER 65532:65532
EXPOSE 9455
# Docker's format only. An OCI image has no health check: compose.yaml and Kubernetes have their own.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/berth", "health"]
ENTRYPOINT ["/berth"]
CMD ["serve"]
