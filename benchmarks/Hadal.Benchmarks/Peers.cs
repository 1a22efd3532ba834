using System.Runtime.InteropServices;

namespace Hadal.Benchmarks;

/// <summary>The libraries the products are compared with (Debian packages libopenblas-dev and libdnnl-dev).</summary>
static unsafe partial class Peers
{
    const int RowMajor = 101, NoTranspose = 111, Transpose = 112;

    /// <summary>y[m, n] = x[m, k]·w[n, k]ᵀ by OpenBLAS.</summary>
    public static void OpenBlas(float* x, float* w, float* y, int m, int n, int k) =>
        cblas_sgemm(RowMajor, NoTranspose, Transpose, m, n, k, 1, x, k, w, k, 0, y, n);

    /// <summary>The same by oneDNN.</summary>
    public static void OneDnn(float* x, float* w, float* y, int m, int n, int k)
    {
        int status = dnnl_sgemm((byte)'N', (byte)'T', m, n, k, 1, x, k, w, k, 0, y, n);
        if (status != 0) throw new InvalidOperationException($"dnnl_sgemm returned {status}; expected 0.");
    }

    public static void SetOpenBlasThreads(int threads) => openblas_set_num_threads(threads);

    public static void SetOneDnnThreads(int threads) => omp_set_num_threads(threads);

    [LibraryImport("libopenblas.so.0")]
    private static partial void cblas_sgemm(
        int order, int transposeA, int transposeB, int m, int n, int k, float alpha, float* a, int lda, float* b, int ldb, float beta, float* c, int ldc);

    [LibraryImport("libopenblas.so.0")]
    private static partial void openblas_set_num_threads(int threads);

    [LibraryImport("libdnnl.so.2")]
    private static partial int dnnl_sgemm(
        byte transposeA, byte transposeB, long m, long n, long k, float alpha, float* a, long lda, float* b, long ldb, float beta, float* c, long ldc);

    [LibraryImport("libgomp.so.1")]
    private static partial void omp_set_num_threads(int threads);
}
