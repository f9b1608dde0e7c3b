r"""What etcd speaks: `rpc.proto`, and the modules that protoc makes of it.

They are committed, and made anew from the checkout, with the grpcio-tools that constraints.txt names:

    .venv/bin/python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src --grpc_python_out=src \
        src/nankeen/registry/etcdrpc/rpc.proto
"""
