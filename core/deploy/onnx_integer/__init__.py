"""An integer program as ONNX with integer operators only: ConvInteger, MatMulInteger, and arithmetic on 64 bits."""
