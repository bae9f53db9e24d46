// A client by JDBC: writes one row after the other until its standard input ends, and prints what was acknowledged.
//
// usage: java -cp postgresql.jar Writer.java PORT FIRST_ID

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Properties;

public class Writer {
    public static void main(String[] words) throws Exception {
        Properties said = new Properties();
        said.setProperty("user", "postgres");
        said.setProperty("options", "-c replat.partition=acme");
        String url = "jdbc:postgresql://127.0.0.1:" + words[0] + "/shop";
        long id = Long.parseLong(words[1]);
        try (Connection connection = DriverManager.getConnection(url, said)) {
            // From its fifth run on it is prepared at the server; both are run far more often.
            PreparedStatement insert = connection.prepareStatement("insert into entries values (1, ?)");
            PreparedStatement sum =
                connection.prepareStatement("update accounts set sum = sum + 1 where tenant_id = 1 and id = ?");
            while (!ended()) {
                boolean inTransaction = id % 2 == 0;
                connection.setAutoCommit(!inTransaction);
                if (inTransaction) {
                    insert.setLong(1, id);
                    insert.addBatch();
                    insert.executeBatch();
                    sum.setLong(1, id % 200 + 1);
                    require(sum.executeUpdate() == 1, "an account is out of sight");
                    connection.commit();
                } else {
                    insert.setLong(1, id);
                    require(insert.executeUpdate() == 1, "no row");
                }
                System.out.println(id);
                System.out.flush();
                id++;
            }
            try (ResultSet columns = connection.getMetaData().getColumns(null, null, "entries", null)) {
                require(columns.next(), "the driver does not see the table");
            }
        }
    }

    private static volatile boolean over;

    static {
        Thread listener = new Thread(() -> {
            try {
                System.in.read();
            } catch (java.io.IOException e) {
                // Nobody is left to say more.
            }
            over = true;
        });
        listener.setDaemon(true);
        listener.start();
    }

    private static boolean ended() {
        return over;
    }

    private static void require(boolean holds, String otherwise) throws SQLException {
        if (!holds) {
            throw new SQLException(otherwise);
        }
    }
}
