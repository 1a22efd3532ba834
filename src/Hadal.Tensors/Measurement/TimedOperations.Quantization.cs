using System.Diagnostics;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Measurement;

/// <summary>Quantisation and quantised products.</summary>
sealed partial class TimedOperations
{
    sealed class TimedQuantization(IQuantizationOperations inner, OperationProfile profile) : IQuantizationOperations
    {
        readonly OperationProfile.Entry _encode = profile.Add("quantised", "encode");
        readonly OperationProfile.Entry _decode = profile.Add("quantised", "decode");
        readonly OperationProfile.Entry _round = profile.Add("quantised", "round");
        readonly OperationProfile.Entry _refresh = profile.Add("quantised", "encode weights");
        readonly OperationProfile.Entry _forward = profile.Add("quantised", "forward");
        readonly OperationProfile.Entry _backwardInput = profile.Add("quantised", "input gradient");
        readonly OperationProfile.Entry _backwardWeight = profile.Add("quantised", "weight gradient");
        readonly OperationProfile.Entry _groupedForward = profile.Add("quantised", "grouped forward");
        readonly OperationProfile.Entry _groupedBackwardInput = profile.Add("quantised", "grouped input gradient");
        readonly OperationProfile.Entry _groupedBackwardWeight = profile.Add("quantised", "grouped weight gradient");

        public void Encode(Tensor x, QuantizationFormat format, Tensor codes, Tensor scales, Tensor rowCount)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Encode(x, format, codes, scales, rowCount);
            _encode.Stop(start);
        }

        public void Decode(Tensor codes, Tensor scales, QuantizationFormat format, Tensor y, Tensor rowCount)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Decode(codes, scales, format, y, rowCount);
            _decode.Stop(start);
        }

        public void Round(Tensor x, NumberFormat format, Tensor y)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Round(x, format, y);
            _round.Stop(start);
        }

        public PreparedWeight Prepare(ReadOnlySpan<Tensor> groups, ProductUses uses, QuantizationFormat format, int matrixRows = 0, Tensor maxima = default) =>
            inner.Prepare(groups, uses, format, matrixRows, maxima);

        public void Refresh(PreparedWeight weight)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Refresh(weight);
            _refresh.Stop(start);
        }

        public void Forward(Tensor x, PreparedWeight weight, ProductFormat format, Tensor y, bool accumulate = false, Tensor maxima = default)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Forward(x, weight, format, y, accumulate, maxima);
            _forward.Stop(start, profile, x.Rows, y.Columns, x.Columns);
        }

        public void BackwardInput(Tensor dy, PreparedWeight weight, ProductFormat format, Tensor dx, bool accumulate = false, Tensor maxima = default)
        {
            long start = Stopwatch.GetTimestamp();
            inner.BackwardInput(dy, weight, format, dx, accumulate, maxima);
            _backwardInput.Stop(start, profile, dy.Rows, dx.Columns, dy.Columns);
        }

        public void BackwardWeight(Tensor dy, Tensor x, ProductFormat format, Tensor dWeight, bool accumulate, Tensor dyMaxima = default, Tensor xMaxima = default)
        {
            long start = Stopwatch.GetTimestamp();
            inner.BackwardWeight(dy, x, format, dWeight, accumulate, dyMaxima, xMaxima);
            _backwardWeight.Stop(start, profile, dy.Columns, x.Columns, dy.Rows);
        }

        public void GroupedForward(Tensor x, Tensor offsets, PreparedWeight weight, ProductFormat format, Tensor y, Tensor maxima = default)
        {
            long start = Stopwatch.GetTimestamp();
            inner.GroupedForward(x, offsets, weight, format, y, maxima);
            _groupedForward.Stop(start, profile, TimedMatrix.Rows(offsets), y.Columns, x.Columns);
        }

        public void GroupedBackwardInput(Tensor dy, Tensor offsets, PreparedWeight weight, ProductFormat format, Tensor dx, Tensor maxima = default)
        {
            long start = Stopwatch.GetTimestamp();
            inner.GroupedBackwardInput(dy, offsets, weight, format, dx, maxima);
            _groupedBackwardInput.Stop(start, profile, TimedMatrix.Rows(offsets), dx.Columns, dy.Columns);
        }

        public void GroupedBackwardWeight(Tensor dy, Tensor x, Tensor offsets, ProductFormat format, Tensor dWeight, bool accumulate, Tensor dyMaxima = default, Tensor xMaxima = default)
        {
            long start = Stopwatch.GetTimestamp();
            inner.GroupedBackwardWeight(dy, x, offsets, format, dWeight, accumulate, dyMaxima, xMaxima);
            _groupedBackwardWeight.Stop(start, profile, dy.Columns, x.Columns, TimedMatrix.Rows(offsets));
        }
    }
}
